"""The whole pipeline on the real CUDA provider, over a runtime that does nothing: bindings, buffers, copies, memory.

Real: every session, binding, allocation and copy that the pipeline makes; copies are counted by the runtime. Not real:
what the kernels would compute, so no number that comes out is looked at.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tdt
from tdt.commands import main
from tdt.decoding.device_engine import DeviceEngine
from tdt.doctor import measuring
from tdt.encoding.device_encoder import DeviceEncoder
from tdt.errors import AudioTooLongError, DecodingError
from tdt.model.finding import find_model
from tdt.runtime.backend import Backend
from tdt.runtime.device import DeviceArray, adopt
from tdt.runtime.ort import onnxruntime
from tdt.runtime.provider_options import encoder_profile
from tdt.stages import Encoded, Features
from tdt.surgery import encoder_graph

from .fake_runtime import Spent

if TYPE_CHECKING:
    from collections.abc import Iterator

CUDA = Backend.parse("cuda:0")
ENDS = 4  # time, label, hidden, cell come back once a decode


@contextlib.contextmanager
def whatever_the_numbers() -> Iterator[None]:
    """Buffers hold whatever was there: it may read as a logit that is not finite."""
    with contextlib.suppress(DecodingError):
        yield


@pytest.fixture(scope="module")
def encoder() -> Any:
    encoder = DeviceEncoder(*find_model(None), CUDA)
    encoder.batching()
    encoder._batching = "together"  # the probe compares numbers, which mean nothing here
    yield encoder
    encoder.close()


@pytest.fixture(scope="module")
def engine() -> Any:
    engine = DeviceEngine(*find_model(None), CUDA)
    yield engine
    engine.close()


def features(lengths: list[int]) -> Features:
    frames = np.zeros((len(lengths), 128, max(lengths)), np.float32)
    return Features(frames, np.array(lengths))


def test_the_encoder_copies_features_in_and_projected_frames_out(encoder: DeviceEncoder) -> None:
    encoder.encode_for_decoding(features([300, 200]))
    spent = Spent()
    encoded = encoder.encode_for_decoding(features([300, 200]))
    found = spent()
    assert found.host_to_device - small_copies(encoder) <= 2  # features, lengths
    assert encoded.frames is None
    assert encoded.projected.shape == (2, 38, 160)
    assert found.allocations == 0


def test_frames_that_are_cut_into_pieces_come_to_the_host_projected(encoder: DeviceEncoder) -> None:
    encoder.decode_on = "device"
    try:
        encoded = encoder.encode_for_decoding(features([300, 200]), on_host=True)
    finally:
        encoder.decode_on = "host"
    assert encoded.frames is None
    assert isinstance(encoded.projected, np.ndarray)
    assert encoded.projected.shape == (2, 38, 160)


def small_copies(encoder: DeviceEncoder) -> int:
    """Copies that the graph itself makes for its shape arithmetic, from the CPU nodes and back: the same each run."""
    buffers = next(reversed(encoder._buffers.values()))
    spent = Spent()
    buffers.bindings[0].run()
    return spent().host_to_device


def test_frames_stay_on_the_device_when_asked(encoder: DeviceEncoder) -> None:
    encoded = encoder.encode(features([300, 200]), frames="device", projected="device")
    assert isinstance(encoded.frames, DeviceArray)
    assert encoded.frames.__dlpack_device__() == (2, 0)
    assert encoded.projected.shape == (2, 40, 160)  # the bucket's length
    pointer = encoded.frames.pointer
    again = encoder.encode(features([300, 200]), frames="device", projected="device")
    assert again.frames.pointer != pointer  # the first result is not overwritten


def test_device_features_are_used_where_they_lie(encoder: DeviceEncoder) -> None:
    given = encoder.session.allocate((2, 128, 320), np.float32)
    encoder.encode(Features(given, np.array([300, 200])), frames="none")  # type: ignore[arg-type]
    encoder.encode(features([320, 200]), frames="none")  # the same shape, from the host
    graph = small_copies(encoder)
    spent = Spent()
    encoder.encode(Features(given, np.array([300, 200])), frames="none")  # type: ignore[arg-type]
    assert spent().host_to_device - graph <= 1  # the lengths
    assert adopt(given) is given


@pytest.mark.parametrize("steps", [4, 32])
def test_a_decode_copies_once_a_round_however_many_steps(steps: int) -> None:
    engine = DeviceEngine(*find_model(None), CUDA, steps=steps)
    projected = engine._step.allocate((3, 40, 160), np.float32)
    projected.copy_from(np.zeros((3, 40, 160), np.float32))
    given = Encoded(None, np.array([40, 30, 20]), projected)  # type: ignore[arg-type]
    rounds: list[int] = []
    original = engine._rounds
    engine._rounds = lambda *args: [rounds.append(1) or part for part in original(*args)]  # type: ignore[method-assign]
    with whatever_the_numbers():
        engine.decode(given)
    workspace = engine._workspaces[3]
    spent = Spent()
    engine._bindings(workspace, projected)[0].run()
    inside = spent().host_to_device  # what the kernels of a step send themselves
    assert inside == 0 or onnxruntime().__version__ < "1.28"
    for _ in range(2):
        rounds.clear()
        spent = Spent()
        with whatever_the_numbers():
            engine.decode(given)
        found = spent()
        looked = found.device_to_host
        assert looked <= len(rounds) + ENDS
        assert found.host_to_device <= 7 + len(rounds) * steps * inside  # four counters, two states, lengths
        assert found.launches >= steps * 20  # the steps did run
    assert found.allocations == 0  # the second time
    engine.close()


def test_a_thousand_runs_of_changing_shapes_do_not_grow_the_arena(encoder: DeviceEncoder, engine: DeviceEngine) -> None:
    rng = np.random.default_rng(4)
    shapes = [sorted(rng.integers(40, 400, size).tolist(), reverse=True) for size in rng.integers(1, 4, 50)]

    def once(lengths: list[int]) -> None:
        encoded = encoder.encode(features(lengths), frames="none", projected="device")
        with whatever_the_numbers():
            engine.decode(encoded)

    for _ in range(2):
        for lengths in shapes:
            once(lengths)
    spent = Spent()
    for index in range(1000):
        once(shapes[index % len(shapes)])
    assert spent().allocated_bytes == 0


@pytest.mark.parametrize(
    "options",
    [
        {"provider": "cuda:0"},
        {"provider": "cuda:0", "decoder": "onnx"},
        {"encoder_provider": "cuda:0", "decoder_provider": "cpu", "decoder": "onnx"},
        {"encoder_provider": "cpu", "decoder_provider": "cuda:0"},
    ],
)
def test_the_recogniser_runs_end_to_end(options: dict[str, str]) -> None:
    samples = np.zeros(24_000, np.float32)
    with tdt.load(**options) as asr:  # type: ignore[arg-type]
        results = asr.transcribe([samples, samples[:20_000]], errors="return")
        assert len(results) == 2
        assert all(isinstance(result, (tdt.Transcript, DecodingError)) for result in results)
        encoded = asr.encode(asr.features([samples]))
        assert np.asarray(encoded.frames).shape == (1, 19, 144)


def test_an_encoder_that_cannot_be_edited_gets_its_projection_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # A decoder of another operator set is such a case.
    monkeypatch.setattr(encoder_graph, "_append_projection", lambda model, files, spec: 0)
    encoder = DeviceEncoder(*find_model(None), CUDA)
    encoder.batching()
    encoded = encoder.encode(features([300, 200]))
    assert encoded.frames.shape == (2, 38, 144)
    assert encoded.projected.shape == (2, 38, 160)
    device = encoder.encode(features([300, 200]), frames="device", projected="device")
    assert (device.frames.shape[2], device.projected.shape[2]) == (144, 160)
    encoder.close()


def test_output_stays_where_the_features_came_from(encoder: DeviceEncoder) -> None:
    given = encoder.session.allocate((2, 128, 320), np.float32)
    encoded = encoder.encode(Features(given, np.array([300, 200])))  # type: ignore[arg-type]
    assert isinstance(encoded.frames, DeviceArray)
    assert isinstance(encoder.encode(features([300, 200])).frames, np.ndarray)


@pytest.mark.parametrize("shared", [False, True], ids=["from the host", "on the device"])
def test_no_shape_outside_an_engines_profile_ever_runs(shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # CUDA stands in for TensorRT here; the profile is TensorRT's, and the decisions are the same code.
    encoder = DeviceEncoder(*find_model(None), CUDA)
    names = [port.name for port in encoder.session.inputs]
    backend = Backend.parse("tensorrt:0,max_batch=3,max_seconds=5")
    profile = encoder.profile = encoder_profile(names, encoder.spec, backend)
    shapes: list[tuple[int, int]] = []
    bound = encoder._bound

    def noted(batch: int, size: int, kept: Any) -> Any:
        shapes.append((batch, size))
        return bound(batch, size, kept)

    monkeypatch.setattr(encoder, "_bound", noted)
    rng = np.random.default_rng(8)
    for batching in ("together", "same length", "alone"):
        encoder._batching = batching  # type: ignore[assignment]
        for size in (1, 2, 3, 4, 8):
            lengths = rng.integers(1, profile.max_mel_frames + 1, size)
            given = features(lengths.tolist())
            if shared:
                frames = encoder.session.allocate((size, 128, int(lengths.max()) + int(rng.integers(0, 200))), "f4")
                given = Features(frames, lengths)  # type: ignore[arg-type]
            encoded = encoder.encode(given, frames="none")
            assert encoded.projected.shape[0] == size
    assert {batch for batch, _ in shapes} == {1, 2, 3}
    for batch, frames in shapes:
        for least, most, found in zip(
            profile.least[names[0]], profile.most[names[0]], (batch, 128, frames), strict=True
        ):
            assert least <= found <= most
    ran = len(shapes)
    with pytest.raises(AudioTooLongError, match=r"502 mel frames \(5\.0 s\) exceeds the 501 frames"):
        encoder.encode(features([502, 20]))
    assert len(shapes) == ran
    assert len({size for _, size in shapes}) <= 60
    encoder.close()


def test_the_doctor_finds_numbers_that_are_wrong_on_the_device(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # CuPy brings a CUDA runtime of its own inside, which finds no card here.
    monkeypatch.setattr(measuring, "_features_on", lambda backend: "host")
    assert main(["doctor", "--provider", "cuda:0", "--json"]) == 1
    cpu, cuda = json.loads(capsys.readouterr().out)["verdicts"]
    assert (cpu["ok"], cuda["ok"]) == (True, False)
    found = {check["name"]: check["ok"] for check in cuda["checks"]}
    if "runs" not in found:  # numbers that mean nothing may also not decode at all
        assert {name: found[name] for name in ("placement", "features", "lengths")} == dict.fromkeys(
            ("placement", "features", "lengths"), True
        )
        assert not all(found.values())
        assert set(cuda["milliseconds"]) == {"features", "encoder", "decoder"}


def test_the_doctor_tells_what_cupy_finds_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--provider", "cuda:0"]) == 1
    assert "WRONG  runs: CUDARuntimeError: " in capsys.readouterr().out
