"""What only a card can show: that the numbers on it are right. Run by tools/selftest-gpu."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tdt
from tdt.decoding.card_engine import CardEngine
from tdt.decoding.device_engine import DeviceEngine
from tdt.decoding.greedy import OnnxEngine
from tdt.decoding.native import NativeEngine
from tdt.doctor.verdicts import TOLERANCES, Tolerance, distance
from tdt.encoding.device_encoder import DeviceEncoder
from tdt.model.finding import find_model
from tdt.onnxfile import read_graph
from tdt.profiling.breakdown import break_down
from tdt.runtime.backend import Backend
from tdt.runtime.device import DeviceArray
from tdt.runtime.driver import read_driver
from tdt.runtime.numbers import computed_in
from tdt.runtime.placement import computing_on_cpu
from tdt.runtime.session import usable_providers
from tdt.stages import Encoded, Features
from tdt.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.gpu

# Float32 products reorder sums only; TensorRT's are TF32's. Rounded ones are judged as `tdt doctor` does.
PROVIDERS = ["cuda:0", "cuda:0,tf32", "tensorrt:0", "tensorrt:0,fp16"]
EXACT = Tolerance(1.0, 1e-3, 1.0, 0)


@pytest.fixture(scope="module", autouse=True)
def card() -> None:
    problem = read_driver().problem
    if problem:
        pytest.skip(f"needs an NVIDIA card: {problem}")


@pytest.fixture(scope="module", params=PROVIDERS)
def provider(request: pytest.FixtureRequest) -> str:
    name = str(request.param).split(":")[0]
    if name not in usable_providers():
        pytest.skip(f"{name} cannot start here")
    return str(request.param)


@pytest.fixture(scope="module")
def cpu() -> Iterator[tdt.Recognizer]:
    with tdt.load() as asr:
        yield asr


@pytest.fixture(scope="module")
def clips() -> list[Path]:
    folder = find_model(None)[0].folder.parent / "recordings"
    return sorted(folder.glob("*.flac"))


def allowed(provider: str) -> Tolerance:
    numbers = computed_in(Backend.parse(provider), read_graph(find_model(None)[0].encoder))
    return EXACT if numbers == "fp32" else TOLERANCES[numbers]


def words_of(transcript: tdt.Transcript) -> list[tuple[str, float, float]]:
    return [(word.text, word.start, word.end) for word in transcript.words]


@pytest.mark.parametrize("decoder", ["auto", "native", "onnx"])
def test_transcripts_are_the_cpus(cpu: tdt.Recognizer, clips: list[Path], provider: str, decoder: Any) -> None:
    expected, bounds = cpu.transcribe(clips), allowed(provider)
    with tdt.load(provider=provider, decoder=decoder) as asr:
        found = asr.transcribe(clips)
    wrong = 0
    for ours, theirs in zip(found, expected, strict=True):
        ids, other_ids = ([token.id for token in transcript.tokens] for transcript in (ours, theirs))
        wrong += distance(ids, other_ids)
        if ids == other_ids:
            moved = [abs(a.start - b.start) for a, b in zip(ours.tokens, theirs.tokens, strict=True)]
            assert max(moved, default=0) <= bounds.frames * cpu.spec.frame_seconds + 1e-6
        if bounds is EXACT:
            assert words_of(ours) == words_of(theirs)
            confidences = [token.confidence for token in ours.tokens]
            np.testing.assert_allclose(confidences, [token.confidence for token in theirs.tokens], atol=2e-2)
    assert wrong <= (1 - bounds.tokens) * sum(len(transcript.tokens) for transcript in expected)


def test_encoder_frames_are_the_cpus(cpu: tdt.Recognizer, clips: list[Path], provider: str) -> None:
    features = cpu.features(clips)
    expected = cpu.encode(features)
    with tdt.load(provider=provider) as asr:
        encoded = asr.encode(features)
    assert encoded.lengths.tolist() == expected.lengths.tolist()
    for ours, theirs, length in zip(encoded.frames, expected.frames, encoded.lengths, strict=True):
        difference = np.abs(ours[:length] - theirs[:length]).max() / np.abs(theirs[:length]).max()
        assert difference <= allowed(provider).error


def test_a_batch_gives_what_each_clip_gives_alone(cpu: tdt.Recognizer, clips: list[Path], provider: str) -> None:
    with tdt.load(provider=provider) as asr:
        together = asr.encode(asr.features(clips))
        for row, clip in enumerate(clips):
            alone = asr.encode(asr.features([clip]))
            length = int(alone.lengths[0])
            difference = np.abs(together.frames[row, :length] - alone.frames[0, :length]).max()
            assert difference <= allowed(provider).error * np.abs(alone.frames).max()


@pytest.mark.parametrize("numbers", ["", ",tf32"])
def test_captured_runs_give_what_plain_runs_give(numbers: str) -> None:
    rng = np.random.default_rng(5)
    given = {length: rng.standard_normal((1, 128, length)).astype(np.float32) for length in (256, 700, 1024, 2300)}
    plain, graphs = (
        DeviceEncoder(*find_model(None), Backend.parse(f"cuda:0{numbers}{option}")) for option in ("", ",graphs=8")
    )
    assert plain.batching() == graphs.batching() == "together"
    expected = {length: plain.encode(Features(frames, np.array([length]))) for length, frames in given.items()}
    assert graphs.session.captures
    order = [int(length) for length in rng.choice(list(given), 200)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda length: graphs.encode(Features(given[length], np.array([length]))), order))
    for length, encoded in zip(order, found, strict=True):
        largest = np.abs(expected[length].frames).max()
        assert np.abs(encoded.frames - expected[length].frames).max() <= 1e-5 * largest  # the same kernels
    plain.close()
    graphs.close()


def test_no_computing_node_is_on_the_cpu(provider: str) -> None:
    encoder = DeviceEncoder(*find_model(None), Backend.parse(provider))
    assert not computing_on_cpu(encoder.placement())
    encoder.close()


@pytest.mark.parametrize("batch", [1, 2, 8, 9, 33, 150])
def test_the_kernel_gives_the_native_engines_tokens(batch: int) -> None:
    rng = np.random.default_rng(batch)
    lengths = rng.integers(0, 120, batch)
    frames = (rng.standard_normal((batch, 120, 144)) * 1.5).astype(np.float32)
    host, card = NativeEngine(*find_model(None)), CardEngine(*find_model(None), Backend.parse("cuda:0"))
    wanted, ends = host.decode(Encoded(frames, lengths))
    first: list[Any] = []
    for _ in range(20):  # a race would show once in a while
        found, states = card.decode(Encoded(frames, lengths))
        for ours, theirs in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(ours.token_ids, theirs.token_ids)
            np.testing.assert_array_equal(ours.frames, theirs.frames)
            np.testing.assert_array_equal(ours.durations, theirs.durations)
            np.testing.assert_allclose(ours.logprobs, theirs.logprobs, atol=1e-4)
        for state, end in zip(states, ends, strict=True):
            assert (state.label, state.skip) == (end.label, end.skip)
            np.testing.assert_allclose(state.hidden, end.hidden, atol=1e-4)
        first = first or found
        assert all(np.array_equal(one.logprobs, other.logprobs) for one, other in zip(found, first, strict=True))
    card.close()
    host.close()


def test_half_weights_give_nearly_the_same_tokens(cpu: tdt.Recognizer, clips: list[Path]) -> None:
    encoded = cpu.encode(cpu.features(clips))
    half = CardEngine(*find_model(None), Backend.parse("cuda:0"), weights="float16")
    for ours, theirs in zip(half.decode(encoded)[0], cpu.decode(encoded), strict=True):
        np.testing.assert_array_equal(ours.token_ids, theirs.token_ids)
        np.testing.assert_allclose(ours.logprobs, theirs.logprobs, atol=5e-2)
    half.close()


@pytest.mark.parametrize(("window", "steps"), [(1, 2), (4, 8), (8, 32)])
def test_steps_enqueued_back_to_back_give_the_host_loops_tokens(
    cpu: tdt.Recognizer, clips: list[Path], window: int, steps: int
) -> None:
    encoded = cpu.encode(cpu.features(clips))
    host, device = (
        OnnxEngine(*find_model(None), Backend()),
        DeviceEngine(*find_model(None), Backend.parse("cuda:0"), window=window, steps=steps),
    )
    for _ in range(20):  # a race would show once in a while
        for ours, theirs in zip(device.decode(encoded)[0], host.decode(encoded)[0], strict=True):
            np.testing.assert_array_equal(ours.token_ids, theirs.token_ids)
            np.testing.assert_array_equal(ours.frames, theirs.frames)
            np.testing.assert_allclose(ours.logprobs, theirs.logprobs, atol=1e-3)
    device.close()


def test_frames_are_shared_with_cupy_without_a_copy(cpu: tdt.Recognizer, clips: list[Path]) -> None:
    cupy = pytest.importorskip("cupy")
    encoder = DeviceEncoder(*find_model(None), Backend.parse("cuda:0"))
    features = cpu.features(clips[:1])
    on_device = cupy.asarray(features.frames)
    encoded = encoder.encode(Features(on_device, features.lengths), frames="device", projected="device")
    assert isinstance(encoded.frames, DeviceArray)
    shared = cupy.from_dlpack(encoded.frames)
    assert shared.data.ptr == encoded.frames.pointer
    expected = cpu.encode(features)
    length = int(expected.lengths[0])
    np.testing.assert_allclose(cupy.asnumpy(shared)[0, :length], expected.frames[0, :length], atol=1e-3)
    engine = DeviceEngine(*find_model(None), Backend.parse("cuda:0"))
    (ours,), _ = engine.decode(Encoded(None, encoded.lengths, encoded.projected))  # type: ignore[arg-type]
    np.testing.assert_array_equal(ours.token_ids, cpu.decode(expected)[0].token_ids)


def test_the_encoder_enqueues_on_the_callers_stream(cpu: tdt.Recognizer, clips: list[Path]) -> None:
    cupy = pytest.importorskip("cupy")
    stream = cupy.cuda.Stream(non_blocking=True)
    encoder = DeviceEncoder(*find_model(None), replace(Backend.parse("cuda:0"), stream=stream.ptr))
    features = cpu.features(clips[:1])
    with stream:
        on_device = cupy.asarray(features.frames) * 2 / 2  # made on the same stream, not waited for
        encoded = encoder.encode(Features(on_device, features.lengths))
    expected = cpu.encode(features)
    length = int(expected.lengths[0])
    np.testing.assert_allclose(encoded.frames[0, :length], expected.frames[0, :length], atol=1e-3)


@pytest.mark.parametrize("given", ["one of the caller's", "one made at load"])
def test_features_encoder_and_decoder_share_a_stream(cpu: tdt.Recognizer, clips: list[Path], given: str) -> None:
    cupy = pytest.importorskip("cupy")
    stream = cupy.cuda.Stream(non_blocking=True) if given == "one of the caller's" else None
    expected = [(transcript.text, words_of(transcript)) for transcript in cpu.transcribe(clips)]
    with tdt.load(provider="cuda:0", decoder="onnx", features_on="device", stream=stream) as asr:
        for _ in range(20):  # a race would show once in a while
            assert [(found.text, words_of(found)) for found in asr.transcribe(clips)] == expected


def test_a_stream_made_at_load_keeps_order_with_the_default_stream(cpu: tdt.Recognizer, clips: list[Path]) -> None:
    cupy = pytest.importorskip("cupy")
    features = cpu.features(clips)
    expected = cpu.encode(features)
    with tdt.load(provider="cuda:0") as asr:
        for _ in range(20):
            late = cupy.zeros((4096, 4096), np.float32) @ cupy.zeros((4096, 4096), np.float32)  # keeps the card busy
            on_device = cupy.asarray(features.frames) + late[0, 0]  # not waited for
            encoded = asr.encode(Features(on_device, features.lengths))
            shared = cupy.asnumpy(cupy.from_dlpack(encoded.frames))
            for row, length in enumerate(expected.lengths):
                np.testing.assert_allclose(shared[row, :length], expected.frames[row, :length], atol=1e-3)


def test_the_devices_own_clock_fits_into_the_hosts(clips: list[Path]) -> None:
    with tdt.load(provider="cuda:0", decoder="onnx") as asr:
        asr.transcribe(clips)
        timeline = Timeline()
        asr.transcribe(clips, timeline=timeline)
    rows = {row.name: row for row in break_down(timeline).stages}
    assert {rows[name].clock for name in ("h2d", "encoder", "joint", "d2h")} == {"cuda-event"}
    assert all(rows[name].total_ms > 0 for name in ("h2d", "encoder", "joint"))
    assert rows["unaccounted"].total_ms >= 0


def test_memory_does_not_grow_over_changing_lengths() -> None:
    cupy = pytest.importorskip("cupy")
    encoder = DeviceEncoder(*find_model(None), Backend.parse("cuda:0"))
    rng = np.random.default_rng(1)
    shapes = [int(length) for length in rng.integers(50, 1500, 40)]

    def once(length: int) -> None:
        frames = np.zeros((1, 128, length), np.float32)
        encoder.encode_for_decoding(Features(frames, np.array([length])))

    for length in shapes * 2:
        once(length)
    before = cupy.cuda.runtime.memGetInfo()[0]
    for index in range(1000):
        once(shapes[index % len(shapes)])
    assert before - cupy.cuda.runtime.memGetInfo()[0] <= 16 << 20  # other processes on the card
