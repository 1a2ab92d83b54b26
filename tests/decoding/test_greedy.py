"""The ONNX Runtime engine: NeMo's own decisions on the goldens, any scripted logits, batches, pieces, threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tdt.decoding.greedy import OnnxEngine
from tdt.encoding.encoder import Encoder
from tdt.errors import ClosedError, DecodingError, OptionError, TdtError
from tdt.model.finding import find_model
from tdt.runtime.backend import Backend
from tdt.stages import DecoderState, Encoded, Features, Hypothesis
from tdt.timeline import Timeline

from .. import naive, scripted_model

if TYPE_CHECKING:
    from pathlib import Path

CLIPS = [
    "01_hibari-heart", "02_piper-joe", "03_flite-rms", "04_flite-slt", "05_flite-awb", "06_digits_theo", "07_jfk",
    "08_short_0p3s", "09_silence_1s", "10_noise_2s", "11_long_35s", "12_fest-slt-hts_8k", "13_hibari_44k_stereo",
    "14_flite-slt_noisy15dB", "15_hello_world",
]  # fmt: skip


@pytest.fixture(scope="module")
def engine(model_folder: Path) -> Any:
    files, spec = find_model(model_folder)
    engine = OnnxEngine(files, spec, Backend())
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def encoder(model_folder: Path) -> Any:
    encoder = Encoder(*find_model(model_folder), Backend())
    yield encoder
    encoder.close()


def golden(folder: Path, clip: str) -> dict[str, np.ndarray]:
    with np.load(folder / f"{clip}.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def encoded_of(folder: Path, clips: list[str], lengths: list[int]) -> Encoded:
    outs = [golden(folder, clip)["encoder_out"].T for clip in clips]
    frames = np.zeros((len(clips), max(map(len, outs)), outs[0].shape[1]), np.float32)
    for row, out in enumerate(outs):
        frames[row, : len(out)] = out
    return Encoded(frames, np.array(lengths, np.int64))


def triples(hypothesis: Hypothesis) -> list[tuple[int, int, int]]:
    columns = (hypothesis.token_ids, hypothesis.frames, hypothesis.durations)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def emissions(trace: np.ndarray, blank: int) -> list[tuple[int, int, int]]:
    return [(int(token), int(frame), int(step)) for frame, token, step in trace if token != blank]


def same(one: Hypothesis, other: Hypothesis) -> None:
    assert triples(one) == triples(other)
    # The same rows in products of other sizes: float32 sums in another order.
    np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-4)
    np.testing.assert_allclose(one.entropy_confidences, other.entropy_confidences, atol=1e-4)


@pytest.mark.parametrize("clip", CLIPS)
def test_golden_encoder_output_decodes_as_nemos_loop_does(
    engine: OnnxEngine, golden_folder: Path, goldens: dict[str, Any], clip: str
) -> None:
    arrays = golden(golden_folder, clip)
    encoded = encoded_of(golden_folder, [clip], [goldens[clip]["encoder_len"]])
    (hypothesis,), (state,) = engine.decode(encoded)
    trace, logits = arrays["trace"], arrays["joint_logits"]
    assert triples(hypothesis) == emissions(trace, engine.spec.blank_id)
    rows = [naive.log_softmax(logits[step][:257])[token] for step, (_, token, _) in enumerate(trace) if token != 256]
    np.testing.assert_allclose(hypothesis.logprobs, rows, atol=1e-4)  # float32 products against torch's
    assert state.frames_decoded == goldens[clip]["encoder_len"]
    assert state.label == (hypothesis.token_ids[-1] if len(hypothesis) else engine.spec.blank_id)


@pytest.mark.parametrize("clip", [clip for clip in CLIPS if clip != "08_short_0p3s"])
def test_confidences_are_nemos(engine: OnnxEngine, golden_folder: Path, goldens: dict[str, Any], clip: str) -> None:
    (hypothesis,), _ = engine.decode(encoded_of(golden_folder, [clip], [goldens[clip]["encoder_len"]]))
    expected = goldens[clip]["confidence"]
    # The task's bound; seen: 7e-7.
    np.testing.assert_allclose(
        hypothesis.entropy_confidences, expected["entropy_tsallis_exp_alpha_0.33"]["token"], atol=1e-3
    )
    classes = engine.spec.blank_id + 1
    max_prob = (np.exp(hypothesis.logprobs) * classes - 1) / (classes - 1)
    np.testing.assert_allclose(max_prob, expected["max_prob"]["token"], atol=1e-3)


@pytest.mark.parametrize("clip", CLIPS)
def test_golden_features_encode_and_decode_as_nemo_does(
    encoder: Encoder, engine: OnnxEngine, golden_folder: Path, goldens: dict[str, Any], clip: str
) -> None:
    arrays = golden(golden_folder, clip)
    features = Features(arrays["logmel_norm"][None], np.array([goldens[clip]["feature_len"]]))
    encoded = encoder.encode(features)
    assert encoded.lengths.tolist() == [goldens[clip]["encoder_len"]]
    length = int(encoded.lengths[0])
    # Float32 through eight conformer layers on other kernels; seen: 5e-6.
    np.testing.assert_allclose(encoded.frames[0, :length], arrays["encoder_out"].T[:length], atol=1e-3)
    assert triples(engine.decode(encoded)[0][0]) == emissions(arrays["trace"], engine.spec.blank_id)


def test_a_batch_gives_what_each_clip_gives_alone(
    encoder: Encoder, engine: OnnxEngine, golden_folder: Path, goldens: dict[str, Any]
) -> None:
    clips = [clip for clip in CLIPS if clip not in ("07_jfk", "11_long_35s")]  # attention costs length squared
    arrays = [golden(golden_folder, clip) for clip in clips]
    lengths = np.array([goldens[clip]["feature_len"] for clip in clips])
    frames = np.zeros((len(clips), 128, int(lengths.max())), np.float32)
    for row, (array, length) in enumerate(zip(arrays, lengths, strict=True)):
        frames[row, :, :length] = array["logmel_norm"][:, :length]
    together = encoder.encode(Features(frames, lengths))
    hypotheses, states = engine.decode(together)
    for row, (array, length) in enumerate(zip(arrays, lengths, strict=True)):
        alone = encoder.encode(Features(frames[row : row + 1, :, :length], lengths[row : row + 1]))
        span = int(alone.lengths[0])
        # Reordered float32 sums; seen: 4e-6.
        np.testing.assert_allclose(together.frames[row, :span], alone.frames[0], atol=1e-4)
        (single,), (state,) = engine.decode(alone)
        same(hypotheses[row], single)
        assert triples(single) == emissions(array["trace"], engine.spec.blank_id)
        assert (states[row].label, states[row].skip) == (state.label, state.skip)
        np.testing.assert_allclose(states[row].hidden, state.hidden, atol=1e-4)


@pytest.mark.parametrize("window", [2, 4, 8])
def test_wider_windows_change_nothing(
    model_folder: Path, engine: OnnxEngine, golden_folder: Path, goldens: dict[str, Any], window: int
) -> None:
    clips = ["07_jfk", "01_hibari-heart", "09_silence_1s", "06_digits_theo"]
    encoded = encoded_of(golden_folder, clips, [goldens[clip]["encoder_len"] for clip in clips])
    wide = OnnxEngine(*find_model(model_folder), Backend(), window=window)
    for one, other in zip(wide.decode(encoded)[0], engine.decode(encoded)[0], strict=True):
        same(one, other)
    wide.close()


@pytest.mark.parametrize("layout", ["onnx-asr", "sherpa-onnx"])
def test_any_split_of_a_clip_gives_what_the_whole_gives(
    models: Path, golden_folder: Path, goldens: dict[str, Any], layout: str
) -> None:
    names = {"onnx-asr": "parakeet-tdt-tiny-onnx", "sherpa-onnx": "sherpa-onnx-parakeet-tdt-tiny"}
    engine = OnnxEngine(*find_model(models / names[layout]), Backend())
    clip = "03_flite-rms"
    whole = encoded_of(golden_folder, [clip], [goldens[clip]["encoder_len"]])
    length = int(whole.lengths[0])
    (expected,), (end,) = engine.decode(whole)
    for cut in range(length + 1):
        parts, state = [], [None]
        for begin, stop in ((0, cut), (cut, length)):
            piece = Encoded(whole.frames[:, begin:stop], np.array([stop - begin]))
            (hypothesis,), state = engine.decode(piece, state)
            parts.append(hypothesis)
        assert triples(parts[0]) + triples(parts[1]) == triples(expected), cut
        assert (state[0].label, state[0].skip, state[0].frames_decoded) == (end.label, end.skip, end.frames_decoded)
        np.testing.assert_allclose(state[0].hidden, end.hidden, atol=1e-5)  # the same products, fed once more
        np.testing.assert_allclose(state[0].cell, end.cell, atol=1e-5)


def test_one_frame_at_a_time_gives_what_the_whole_gives(
    engine: OnnxEngine, golden_folder: Path, goldens: dict[str, Any]
) -> None:
    clips = ["06_digits_theo", "01_hibari-heart"]
    whole = encoded_of(golden_folder, clips, [goldens[clip]["encoder_len"] for clip in clips])
    expected, _ = engine.decode(whole)
    found: list[list[tuple[int, int, int]]] = [[], []]
    states: list[DecoderState | None] = [None, None]
    for frame in range(whole.frames.shape[1]):
        piece = Encoded(whole.frames[:, frame : frame + 1], (whole.lengths > frame).astype(np.int64))
        hypotheses, states = engine.decode(piece, states)  # type: ignore[assignment]
        for row in range(2):
            found[row] += triples(hypotheses[row])
    assert found == [triples(hypothesis) for hypothesis in expected]


@pytest.mark.parametrize("precision", ["int8"])
def test_eight_bit_graphs_decode_alike_in_batches(
    model_folder: Path, golden_folder: Path, goldens: dict[str, Any], precision: Any
) -> None:
    engine = OnnxEngine(*find_model(model_folder, precision=precision), Backend())
    clips = CLIPS[:7]
    encoded = encoded_of(golden_folder, clips, [goldens[clip]["encoder_len"] for clip in clips])
    together, _ = engine.decode(encoded)
    agreed = total = 0
    for row, clip in enumerate(clips):
        (alone,), _ = engine.decode(Encoded(encoded.frames[row : row + 1], encoded.lengths[row : row + 1]))
        same(together[row], alone)
        expected = emissions(golden(golden_folder, clip)["trace"], engine.spec.blank_id)
        theirs = [token for token, _, _ in expected]
        total += len(expected)
        agreed += len(expected) - naive.edit_distance(list(alone.token_ids), list(theirs))
    assert agreed / total >= 0.97  # 8-bit weights move small margins; seen: 0.972
    engine.close()


@pytest.fixture(scope="module")
def scripted_cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """10 000 random utterances as one table: small integers, so that ties are frequent."""
    rng = np.random.default_rng(5)
    table = rng.integers(-2, 3, (10_000, 5, 16, 3 + 3)).astype(np.float32)
    lengths = rng.integers(0, 6, 10_000)
    folder = tmp_path_factory.mktemp("scripted")
    return {"table": table, "lengths": lengths, "folder": folder, "durations": (0, 2, 1), "max_symbols": 3}


@pytest.mark.parametrize("layout", ["onnx-asr", "sherpa-onnx"])
@pytest.mark.parametrize("window", [1, 3])
def test_ten_thousand_scripted_utterances(scripted_cases: dict[str, Any], layout: Any, window: int) -> None:
    table, lengths, durations = (scripted_cases[name] for name in ("table", "lengths", "durations"))
    model = scripted_model.write(scripted_cases["folder"], table, durations, layout, max_symbols=3)
    engine = OnnxEngine(*model, Backend(), window=window)
    encoded = scripted_model.encode(table, lengths.tolist())
    for start in range(0, len(table), 500):
        part = Encoded(encoded.frames[start : start + 500], encoded.lengths[start : start + 500])
        hypotheses, states = engine.decode(part)
        for row, (hypothesis, state) in enumerate(zip(hypotheses, states, strict=True)):
            logits = table[start + row]
            expected, over = naive.greedy_tdt(
                lambda time, emitted, logits=logits: logits[time, emitted], int(part.lengths[row]), durations, 2, 3
            )
            assert triples(hypothesis) == expected
            assert state.skip == over
    engine.close()


@pytest.mark.parametrize("layout", ["onnx-asr", "sherpa-onnx"])
def test_scripted_pieces_carry_jumps_that_span_whole_pieces(tmp_path: Path, layout: Any) -> None:
    rng = np.random.default_rng(9)
    table = rng.integers(-2, 3, (200, 9, 30, 3 + 3)).astype(np.float32)
    engine = OnnxEngine(*scripted_model.write(tmp_path, table, (0, 6, 1), layout, max_symbols=2), Backend())
    whole, ends = engine.decode(scripted_model.encode(table, [9] * 200))
    found: list[list[tuple[int, int, int]]] = [[] for _ in range(200)]
    states: Any = None
    for begin, stop in ((0, 1), (1, 3), (3, 4), (4, 9)):
        piece = scripted_model.encode(table, [stop - begin] * 200, [begin] * 200)
        hypotheses, states = engine.decode(piece, states)
        for row, hypothesis in enumerate(hypotheses):
            found[row] += triples(hypothesis)
    assert found == [triples(hypothesis) for hypothesis in whole]
    assert [(s.label, s.skip, s.frames_decoded) for s in states] == [(s.label, s.skip, s.frames_decoded) for s in ends]
    engine.close()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", [0, 2, 3, 5])
def test_logits_that_are_not_finite_raise(tmp_path: Path, value: float, column: int) -> None:
    table = np.zeros((2, 4, 12, 3 + 3), np.float32)
    table[..., 2], table[..., 4] = 3, 3  # blanks that move by one
    table[1, 2, :, column] = value
    engine = OnnxEngine(*scripted_model.write(tmp_path, table, (0, 1, 2), "onnx-asr"), Backend())
    with pytest.raises(DecodingError, match="utterance 1 at encoder frame 2"):
        engine.decode(scripted_model.encode(table, [4, 4]))
    hypotheses, _ = engine.decode(scripted_model.encode(table, [4, 2]))  # the engine goes on working
    assert [len(hypothesis) for hypothesis in hypotheses] == [0, 0]


def test_nan_frames_raise(engine: OnnxEngine) -> None:
    frames = np.zeros((1, 3, 144), np.float32)
    frames[0, 1] = np.nan
    with pytest.raises(DecodingError):
        engine.decode(Encoded(frames, np.array([3])))


def test_several_threads_get_equal_results(engine: OnnxEngine, golden_folder: Path, goldens: dict[str, Any]) -> None:
    batches = [["07_jfk", "01_hibari-heart"], ["06_digits_theo", "02_piper-joe"], ["03_flite-rms"]]
    work = [encoded_of(golden_folder, clips, [goldens[c]["encoder_len"] for c in clips]) for clips in batches] * 4
    expected = [engine.decode(encoded)[0] for encoded in work]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda encoded: engine.decode(encoded)[0], work))
    for ours, theirs in zip(found, expected, strict=True):
        assert [triples(one) for one in ours] == [triples(one) for one in theirs]
        assert all(np.array_equal(a.logprobs, b.logprobs) for a, b in zip(ours, theirs, strict=True))


def test_results_do_not_alias_the_buffers(engine: OnnxEngine, golden_folder: Path, goldens: dict[str, Any]) -> None:
    first = encoded_of(golden_folder, ["01_hibari-heart"], [goldens["01_hibari-heart"]["encoder_len"]])
    (hypothesis,), (state,) = engine.decode(first)
    kept, hidden = triples(hypothesis), state.hidden.copy()
    engine.decode(encoded_of(golden_folder, ["02_piper-joe"], [goldens["02_piper-joe"]["encoder_len"]]))
    assert triples(hypothesis) == kept
    np.testing.assert_array_equal(state.hidden, hidden)


def test_types_and_empty_batches(engine: OnnxEngine) -> None:
    assert engine.decode(Encoded(np.zeros((0, 5, 144), np.float32), np.zeros(0, np.int64))) == ([], [])
    (hypothesis,), (state,) = engine.decode(Encoded(np.zeros((1, 0, 144), np.float32), np.zeros(1, np.int64)))
    assert len(hypothesis) == 0
    dtypes = [hypothesis.token_ids, hypothesis.frames, hypothesis.durations, hypothesis.logprobs]
    assert [str(array.dtype) for array in dtypes] == ["int32", "int32", "int32", "float32"]
    assert (state.label, state.skip, state.frames_decoded) == (256, 0, 0)


@pytest.mark.parametrize(
    ("frames", "lengths", "problem"),
    [
        (np.zeros((1, 4, 143), np.float32), np.array([4]), "144"),
        (np.zeros((4, 144), np.float32), np.array([4]), r"\[B, T', D\]"),
        (np.zeros((1, 4, 144), np.float32), np.array([5]), "from 0 to the 4"),
        (np.zeros((1, 4, 144), np.float32), np.array([-1]), "from 0 to the 4"),
        (np.zeros((1, 4, 144), np.float32), np.array([1.0]), "whole numbers"),
        (np.zeros((2, 4, 144), np.float32), np.array([4]), "2 integers"),
    ],
)
def test_batches_that_do_not_fit_are_refused(engine: OnnxEngine, frames: Any, lengths: Any, problem: str) -> None:
    with pytest.raises(OptionError, match=problem):
        engine.decode(Encoded(frames, lengths))


def test_states_that_do_not_fit_are_refused(engine: OnnxEngine) -> None:
    encoded = Encoded(np.zeros((1, 4, 144), np.float32), np.array([4]))
    alien = DecoderState(0, np.zeros((1, 8), np.float32), np.zeros((1, 8), np.float32))
    with pytest.raises(OptionError, match="another model"):
        engine.decode(encoded, [alien])
    with pytest.raises(OptionError, match="each of the 1 utterances"):
        engine.decode(encoded, [None, None])


def test_stages_are_recorded(engine: OnnxEngine, golden_folder: Path, goldens: dict[str, Any]) -> None:
    timeline = Timeline()
    engine.decode(encoded_of(golden_folder, ["07_jfk"], [goldens["07_jfk"]["encoder_len"]]), timeline=timeline)
    names = {record.name for record in timeline.tallies}
    assert {"joint", "predictor", "rule"} <= names


def test_a_closed_engine_says_so(model_folder: Path) -> None:
    engine = OnnxEngine(*find_model(model_folder), Backend())
    engine.close()
    engine.close()
    with pytest.raises(ClosedError) as caught:
        engine.decode(Encoded(np.zeros((1, 4, 144), np.float32), np.array([4])))
    assert isinstance(caught.value, TdtError)
