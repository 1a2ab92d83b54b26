"""Decoding on a device, run on the CPU provider: graphs and loop are the device's own, the numbers are checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from tdt.decoding.device_engine import DeviceEngine, make_device_engine
from tdt.decoding.greedy import OnnxEngine
from tdt.errors import ClosedError, DecodingError, ProviderError
from tdt.model.finding import find_model
from tdt.runtime.backend import Backend
from tdt.runtime.device import DeviceArray, adopt, allocate
from tdt.runtime.session import Session
from tdt.stages import DecoderState, Encoded
from tdt.surgery import device_step
from tdt.surgery.device_step import step_graph
from tdt.surgery.encoder_graph import device_graph
from tdt.surgery.networks import cut_decoder
from tdt.surgery.unrolled_lstm import unroll_lstm

from .. import naive, scripted_model, tiny_models

if TYPE_CHECKING:
    from pathlib import Path

CLIPS = ["07_jfk", "01_hibari-heart", "06_digits_theo", "09_silence_1s", "08_short_0p3s"]


@pytest.fixture(scope="module")
def engine(model_folder: Path) -> Any:
    engine = DeviceEngine(*find_model(model_folder), Backend())
    yield engine
    engine.close()


def encoded_of(folder: Path, clips: list[str], goldens: dict[str, Any]) -> Encoded:
    outs = []
    for clip in clips:
        with np.load(folder / f"{clip}.npz") as arrays:
            outs.append(arrays["encoder_out"].T)
    frames = np.zeros((len(clips), max(map(len, outs)), outs[0].shape[1]), np.float32)
    for row, out in enumerate(outs):
        frames[row, : len(out)] = out
    return Encoded(frames, np.array([goldens[clip]["encoder_len"] for clip in clips]))


def triples(hypothesis: Any) -> list[tuple[int, int, int]]:
    columns = (hypothesis.token_ids, hypothesis.frames, hypothesis.durations)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_goldens_come_out_as_from_the_host_loop(
    engine: DeviceEngine, model_folder: Path, golden_folder: Path, goldens: dict[str, Any]
) -> None:
    host = OnnxEngine(*find_model(model_folder), Backend())
    encoded = encoded_of(golden_folder, CLIPS, goldens)
    ours, ends = engine.decode(encoded)
    theirs, expected_ends = host.decode(encoded)
    for one, other in zip(ours, theirs, strict=True):
        assert triples(one) == triples(other)
        assert [str(one.token_ids.dtype), str(one.frames.dtype), str(one.logprobs.dtype)] == [
            "int32",
            "int32",
            "float32",
        ]
        # The LSTM written out against the runtime's own: sums in another order.
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-4)
        np.testing.assert_allclose(one.entropy_confidences, other.entropy_confidences, atol=1e-4)
    for one, other in zip(ends, expected_ends, strict=True):
        assert (one.label, one.skip, one.frames_decoded) == (other.label, other.skip, other.frames_decoded)
        np.testing.assert_allclose(one.hidden, other.hidden, atol=1e-5)
    host.close()


@pytest.mark.parametrize(("window", "steps"), [(1, 2), (2, 4), (8, 1), (3, 16)])
def test_neither_window_nor_round_changes_the_result(
    models: Path, golden_folder: Path, goldens: dict[str, Any], engine: DeviceEngine, window: int, steps: int
) -> None:
    model = find_model(models / "parakeet-tdt-tiny-onnx")
    other = DeviceEngine(*model, Backend(), window=window, steps=steps)
    encoded = encoded_of(golden_folder, CLIPS, goldens)
    ours, theirs = other.decode(encoded)[0], engine.decode(encoded)[0]
    assert [triples(one) for one in ours] == [triples(one) for one in theirs]
    other.close()


def test_projected_frames_on_the_device_are_taken_as_they_are(
    engine: DeviceEngine, model_folder: Path, golden_folder: Path, goldens: dict[str, Any]
) -> None:
    files, spec = find_model(model_folder)
    encoded = encoded_of(golden_folder, CLIPS, goldens)
    projected = Session(cut_decoder(files, spec).projector, Backend()).run({"frames": encoded.frames})[0]
    padded = np.full((len(CLIPS), projected.shape[1] + 5, projected.shape[2]), 7, np.float32)  # a bucket's padding
    padded[:, : projected.shape[1]] = projected
    array = allocate(padded.shape, np.float32, "cpu", 0)
    array.copy_from(padded)
    bare = Encoded(None, encoded.lengths, array)  # type: ignore[arg-type]
    expected = [triples(one) for one in engine.decode(encoded)[0]]
    assert [triples(one) for one in engine.decode(bare)[0]] == expected


def test_no_operator_is_left_to_choose_among_equals() -> None:
    operators = {node.op_type for node in onnx.load_from_string(step_graph(*find_model(None), 2)).graph.node}
    assert "ReduceMin" in operators
    assert not operators & {"ArgMax", "TopK"}  # on CUDA, which of equal values these name is not specified


@pytest.mark.parametrize("layout", ["onnx-asr", "sherpa-onnx"])
@pytest.mark.parametrize(("window", "cap"), [(1, 3), (4, 3), (4, 0)])
def test_scripted_utterances_with_ties_caps_and_jumps(tmp_path: Path, layout: Any, window: int, cap: int) -> None:
    rng = np.random.default_rng(11)
    table = rng.integers(-2, 3, (600, 5, 16, 3 + 3)).astype(np.float32)
    if cap == 0:
        table[..., 3] = -9  # without a cap a token of duration 0 may repeat for ever: leave that duration out
    durations, lengths = (0, 2, 1), rng.integers(0, 6, 600)
    engine = DeviceEngine(
        *scripted_model.write(tmp_path, table, durations, layout, max_symbols=cap), Backend(), window=window
    )
    hypotheses, states = engine.decode(scripted_model.encode(table, lengths.tolist()))
    for row, (hypothesis, state) in enumerate(zip(hypotheses, states, strict=True)):
        logits = table[row]
        expected, over = naive.greedy_tdt(
            lambda time, emitted, logits=logits: logits[time, emitted], int(lengths[row]), durations, 2, cap or 99
        )
        assert triples(hypothesis) == expected
        assert state.skip == over
    engine.close()


def test_pieces_carry_on(engine: DeviceEngine, golden_folder: Path, goldens: dict[str, Any]) -> None:
    whole = encoded_of(golden_folder, ["06_digits_theo", "01_hibari-heart"], goldens)
    expected = [triples(one) for one in engine.decode(whole)[0]]
    found: list[list[tuple[int, int, int]]] = [[], []]
    states: list[DecoderState | None] = [None, None]
    for begin, stop in ((0, 1), (1, 17), (17, 18), (18, 54)):
        lengths = np.clip(whole.lengths - begin, 0, stop - begin)
        hypotheses, states = engine.decode(Encoded(whole.frames[:, begin:stop], lengths), states)  # type: ignore[assignment]
        for row in range(2):
            found[row] += triples(hypotheses[row])
    assert found == expected


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_raise_where_they_are_reached(tmp_path: Path, value: float) -> None:
    table = np.zeros((2, 6, 12, 3 + 3), np.float32)
    table[..., 2], table[..., 4] = 3, 3  # blanks that move by one
    table[0, 1, :, :], table[0, 0, :, 5] = value, 9  # frame 1 of utterance 0 is jumped over
    table[1, 4, :, 0] = value
    engine = DeviceEngine(*scripted_model.write(tmp_path, table, (0, 1, 2), "onnx-asr"), Backend())
    with pytest.raises(DecodingError, match="utterance 1"):
        engine.decode(scripted_model.encode(table, [6, 6]))
    assert [len(one) for one in engine.decode(scripted_model.encode(table, [6, 4]))[0]] == [0, 0]


def test_empty_and_closed(engine: DeviceEngine, model_folder: Path) -> None:
    assert engine.decode(Encoded(np.zeros((0, 5, 144), np.float32), np.zeros(0, np.int64))) == ([], [])
    (hypothesis,), (state,) = engine.decode(Encoded(np.zeros((1, 0, 144), np.float32), np.zeros(1, np.int64)))
    assert (len(hypothesis), state.label, state.skip) == (0, 256, 0)
    closed = DeviceEngine(*find_model(model_folder), Backend())
    closed.close()
    with pytest.raises(ClosedError):
        closed.decode(Encoded(np.zeros((1, 4, 144), np.float32), np.array([4])))


def test_dynamically_quantised_decoders_are_refused(model_folder: Path) -> None:
    with pytest.raises(ProviderError, match=r"dynamically quantised .*tdt quantize"):
        make_device_engine(*find_model(model_folder, precision="int8"), Backend.parse("cuda:0"))


@pytest.mark.parametrize("layers", [1, 2])
def test_the_lstm_written_out_is_the_lstm(tmp_path: Path, rng: np.random.Generator, layers: int) -> None:
    shape = tiny_models.Shape(layers=layers, vocab=50)
    tiny_models.write(tmp_path, shape, "onnx-asr")
    graph = cut_decoder(*find_model(tmp_path)).predictor
    unrolled = unroll_lstm(onnx.load_from_string(graph))
    assert not any(node.op_type == "LSTM" for node in unrolled.graph.node)
    feeds = {
        "label": np.array([[3], [50]], np.int32),
        **{name: rng.standard_normal((layers, 2, shape.hidden)).astype(np.float32) for name in ("hidden", "cell")},
    }
    expected = Session(graph, Backend()).run(feeds)
    for ours, theirs in zip(Session(unrolled.SerializeToString(), Backend()).run(feeds), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)  # the runtime approximates sigmoid and tanh


def test_the_encoder_with_its_projection_gives_both(model_folder: Path, rng: np.random.Generator) -> None:
    files, spec = find_model(model_folder)
    graph = device_graph(files, spec)
    features = rng.standard_normal((2, 128, 48)).astype(np.float32)
    lengths = np.array([48, 40])
    plain = Session(files.encoder, Backend())
    names = [port.name for port in plain.inputs]
    out = plain.run(dict(zip(names, (features, lengths), strict=True)))[0].transpose(0, 2, 1)
    frames, projected = Session(graph.model, Backend()).run(dict(zip(names, (features, lengths), strict=True)))
    np.testing.assert_allclose(frames, out, atol=1e-5)
    assert projected.shape == (2, 6, graph.width) == (2, 6, 160)
    again = Session(cut_decoder(files, spec).projector, Backend()).run({"frames": frames})[0]
    np.testing.assert_allclose(projected, again, atol=1e-5)


def test_device_arrays_are_shared_without_a_copy() -> None:
    array = allocate((2, 3), np.float32, "cpu", 0)
    array.copy_from(np.arange(6, dtype=np.float32).reshape(2, 3))
    shared = np.from_dlpack(array)
    assert shared.ctypes.data == array.pointer
    assert np.asarray(array).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert np.asarray(array).ctypes.data != array.pointer
    assert (array.shape, array.ndim, array.size, array.dtype, len(array)) == ((2, 3), 2, 6, np.float32, 2)
    assert array[1].tolist() == [3, 4, 5]
    assert adopt(array) is None  # it lies on the host
    assert adopt(np.zeros(3)) is None
    assert isinstance(array, DeviceArray)


def test_a_device_that_never_ends_is_refused(
    engine: DeviceEngine, golden_folder: Path, goldens: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One whose numbers mean nothing; over a runtime that does nothing this loop did not end, and took all memory."""
    read = type(engine.queue).read
    rounds = 0

    def wrong(queue: Any, array: Any) -> Any:
        nonlocal rounds
        found = read(queue, array)
        if found.ndim == 3 and found.shape[-1] == device_step.RECORD_COLUMNS:
            rounds += 1
            found = np.zeros_like(found)
            found[..., device_step.RUNNING] = 1
        return found

    monkeypatch.setattr(type(engine.queue), "read", wrong)
    with pytest.raises(DecodingError, match="does not end: 4 encoder frames"):
        engine.decode(encoded_of(golden_folder, ["08_short_0p3s"], goldens))
    assert rounds >= 1
