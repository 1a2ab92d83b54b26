"""Stage by stage against NeMo: features, encoder output, tokens, frames, durations, confidences, in both layouts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tdt
from tdt.audio.loading import load_audio

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLIPS = (
    "01_hibari-heart", "02_piper-joe", "03_flite-rms", "04_flite-slt", "05_flite-awb", "06_digits_theo", "07_jfk",
    "08_short_0p3s", "09_silence_1s", "10_noise_2s", "11_long_35s", "12_fest-slt-hts_8k", "13_hibari_44k_stereo",
    "14_flite-slt_noisy15dB", "15_hello_world",
)  # fmt: skip
# Silence, and an 8 kHz file: constant bands, whose normalisation blows up NeMo's own rounding noise. From the encoder
# on, these start from NeMo's features.
CONSTANT_BANDS = ("09_silence_1s", "12_fest-slt-hts_8k")
METHODS = {"entropy": "entropy_tsallis_exp_alpha_0.33", "max_prob": "max_prob"}


@pytest.fixture(scope="module")
def asr(model_folder: Path) -> Iterator[tdt.Recognizer]:
    with tdt.load(model_folder) as recognizer:
        yield recognizer


@pytest.fixture(scope="module")
def onnx_asr(model_folder: Path) -> Iterator[tdt.Recognizer]:
    with tdt.load(model_folder, decoder="onnx", confidence="max_prob") as recognizer:
        yield recognizer


def golden_arrays(folder: Path, clip_id: str) -> dict[str, Any]:
    with np.load(folder / f"{clip_id}.npz") as arrays:
        return dict(arrays)


def varied_rows(arrays: dict[str, Any], valid: int) -> Any:
    """Mel rows that carry a signal: those of raw standard deviation from 0.02 on."""
    if "logmel_raw" not in arrays:  # left out of the files of long clips, which are speech in all bands
        return np.ones(arrays["logmel_norm"].shape[0], bool)
    return arrays["logmel_raw"][:, :valid].std(axis=1) >= 0.02


@pytest.mark.parametrize("clip_id", CLIPS)
def test_features_equal_nemo(
    clip_id: str, asr: tdt.Recognizer, goldens: dict[str, dict[str, Any]], golden_folder: Path
) -> None:
    clip, arrays = goldens[clip_id], golden_arrays(golden_folder, clip_id)
    features = asr.features(golden_folder / clip["file"])
    assert features.lengths.tolist() == [clip["feature_len"]]
    assert features.frames.shape == (1, 128, clip["feature_frames_total"])
    rows = varied_rows(arrays, clip["feature_len"])
    # NeMo's float32 STFT through torch against NumPy's; the bounds that onnx-asr holds itself to.
    np.testing.assert_allclose(features.frames[0][rows], arrays["logmel_norm"][rows], atol=5e-4, rtol=1e-4)


def test_audio_is_resampled_as_nemos(goldens: dict[str, dict[str, Any]], golden_folder: Path) -> None:
    resampled = [clip for clip in goldens.values() if clip["resampled"] != "none"]
    assert {clip["source"]["sample_rate"] for clip in resampled} == {8000, 44100}
    for clip in resampled:
        ours = load_audio(golden_folder / clip["file"]).samples
        theirs = golden_arrays(golden_folder, clip["id"])["audio_16k"]
        np.testing.assert_allclose(ours, theirs, atol=1e-6)  # the same resampler, another order of channel mean


@pytest.mark.parametrize("clip_id", CLIPS)
def test_encoder_output_equals_nemo(
    clip_id: str, asr: tdt.Recognizer, goldens: dict[str, dict[str, Any]], golden_folder: Path
) -> None:
    clip, arrays = goldens[clip_id], golden_arrays(golden_folder, clip_id)
    encoded = asr.encode(features_of(asr, clip, arrays, golden_folder))
    length = clip["encoder_len"]
    assert encoded.lengths.tolist() == [length]
    assert encoded.frames.dtype == np.float32
    theirs = arrays["encoder_out"].T[:length]
    np.testing.assert_allclose(encoded.frames[0, :length], theirs, atol=1e-3)  # two runtimes' float32 sums


def features_of(asr: tdt.Recognizer, clip: dict[str, Any], arrays: dict[str, Any], folder: Path) -> tdt.Features:
    if clip["id"] not in CONSTANT_BANDS:
        return asr.features(folder / clip["file"])
    return tdt.Features(arrays["logmel_norm"][None], np.array([clip["feature_len"]]))


@pytest.mark.parametrize("clip_id", CLIPS)
def test_tokens_frames_and_durations_equal_nemo(
    clip_id: str,
    asr: tdt.Recognizer,
    onnx_asr: tdt.Recognizer,
    goldens: dict[str, dict[str, Any]],
    golden_folder: Path,
) -> None:
    clip = goldens[clip_id]
    expected = clip.get("unpadded", clip)  # the stages never pad a short clip
    for recognizer in (asr, onnx_asr):
        (hypothesis,) = recognizer.decode(recognizer.encode(recognizer.features(golden_folder / clip["file"])))
        assert hypothesis.token_ids.tolist() == expected["token_ids"]
        assert hypothesis.frames.tolist() == expected["token_frames"]
        assert hypothesis.durations.tolist() == expected["token_durations"]


@pytest.mark.parametrize("clip_id", [clip for clip in CLIPS if clip not in {"08_short_0p3s", "10_noise_2s"}])
def test_scores_equal_nemo(
    clip_id: str,
    asr: tdt.Recognizer,
    onnx_asr: tdt.Recognizer,
    goldens: dict[str, dict[str, Any]],
    golden_folder: Path,
) -> None:
    clip, arrays = goldens[clip_id], golden_arrays(golden_folder, clip_id)
    logits = arrays["joint_logits"][arrays["trace"][:, 1] < asr.spec.blank_id, : asr.spec.blank_id + 1].astype(float)
    logprobs = logits.max(axis=1) - np.log(np.exp(logits).sum(axis=1))
    for recognizer, method in ((asr, "entropy"), (onnx_asr, "max_prob")):
        features = features_of(recognizer, clip, arrays, golden_folder)
        (hypothesis,) = recognizer.decode(recognizer.encode(features))
        np.testing.assert_allclose(hypothesis.logprobs, logprobs, atol=2e-3)  # of logits that carry the encoder's 1e-3
        transcript = recognizer.transcript(hypothesis, audio_seconds=40.0)
        theirs = clip["confidence"][METHODS[method]]
        # what two float32 runtimes leave of a function of the logits
        np.testing.assert_allclose([token.confidence for token in transcript.tokens], theirs["token"], atol=1e-3)
        np.testing.assert_allclose([word.confidence for word in transcript.words], theirs["word"], atol=1e-3)


def test_a_batch_gives_what_each_clip_gives_alone(
    asr: tdt.Recognizer, goldens: dict[str, dict[str, Any]], golden_folder: Path
) -> None:
    clips = [
        golden_folder / goldens[clip_id]["file"] for clip_id in ("05_flite-awb", "01_hibari-heart", "08_short_0p3s")
    ]
    together = asr.features(clips)
    encoded = asr.encode(together)
    for row, clip in enumerate(clips):
        alone = asr.features(clip)
        length = int(alone.lengths[0])
        np.testing.assert_array_equal(together.frames[row, :, :length], alone.frames[0, :, :length])
        assert not together.frames[row, :, length:].any()
        single = asr.encode(alone)
        # float32 products over other row counts are summed in another order
        frames = int(encoded.lengths[row])
        np.testing.assert_allclose(encoded.frames[row, :frames], single.frames[0, :frames], atol=1e-4)


def test_decoding_in_two_pieces_gives_what_one_call_gives(
    asr: tdt.Recognizer, goldens: dict[str, dict[str, Any]], golden_folder: Path
) -> None:
    encoded = asr.encode(asr.features(golden_folder / goldens["03_flite-rms"]["file"]))
    (whole,) = asr.decode(encoded)
    for cut in (1, 20, 33):
        first = tdt.Encoded(encoded.frames[:, :cut], np.array([cut]))
        rest = tdt.Encoded(encoded.frames[:, cut:], encoded.lengths - cut)
        (head,), states = asr.decode_piece(first)
        (tail,), _ = asr.decode_piece(rest, states)
        for name in ("token_ids", "frames", "durations"):
            pieces = np.concatenate([getattr(head, name), getattr(tail, name)])
            np.testing.assert_array_equal(pieces, getattr(whole, name), err_msg=f"{name}, cut at {cut}")


def test_hand_built_features_and_encoder_output_decode_like_ours(
    asr: tdt.Recognizer, goldens: dict[str, dict[str, Any]], golden_folder: Path
) -> None:
    clip, arrays = goldens["15_hello_world"], golden_arrays(golden_folder, "15_hello_world")
    features = tdt.Features(frames=arrays["logmel_norm"][None], lengths=np.array([clip["feature_len"]]))
    encoded = tdt.Encoded(frames=arrays["encoder_out"].T[None], lengths=np.array([clip["encoder_len"]]))
    for hypothesis in (*asr.decode(asr.encode(features)), *asr.decode(encoded)):
        assert hypothesis.token_ids.tolist() == clip["token_ids"]
        assert asr.transcript(hypothesis, 4.025).text == clip["text"]
