"""Transcripts against NeMo's own (no model needed: tokens, frames and durations come from the goldens)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdt.errors import OptionError
from tdt.spec import ModelSpec
from tdt.stages import Hypothesis
from tdt.text.detokenizer import Detokenizer, supported_punctuation
from tdt.text.transcript import Transcript, build

if TYPE_CHECKING:
    from pathlib import Path

CLIPS = (
    "01_hibari-heart", "02_piper-joe", "03_flite-rms", "04_flite-slt", "05_flite-awb", "06_digits_theo", "07_jfk",
    "08_short_0p3s", "09_silence_1s", "10_noise_2s", "11_long_35s", "12_fest-slt-hts_8k", "13_hibari_44k_stereo",
    "14_flite-slt_noisy15dB", "15_hello_world",
)  # fmt: skip
ENTROPY = "entropy_tsallis_exp_alpha_0.33"
PIECES = ("<unk>", "▁a", "▁b", "c", ".", ",", "'", "'s", "▁", "▁¿", "¿", "?", "<|en|>", "<0xC3>", "<0xA9>", "<blk>")


def spec_of(pieces: tuple[str, ...]) -> ModelSpec:
    return ModelSpec(
        name="test", n_mels=128, subsampling=8, encoder_dim=4, pieces=pieces, blank_id=len(pieces) - 1,
        durations=(0, 1, 2, 3, 4), predictor_layers=1, predictor_hidden=4,
    )  # fmt: skip


@pytest.fixture(scope="module")
def tiny_spec(models: Path) -> ModelSpec:
    lines = (models / "parakeet-tdt-tiny-onnx/vocab.txt").read_text(encoding="utf-8").splitlines()
    return spec_of(tuple(line.rpartition(" ")[0] for line in lines))


def hypothesis_of(ids: list[int], frames: list[int], durations: list[int], **scores: Any) -> Hypothesis:
    n = len(ids)
    return Hypothesis(
        token_ids=np.array(ids, np.int32),
        frames=np.array(frames, np.int32),
        durations=np.array(durations, np.int32),
        logprobs=np.asarray(scores.get("logprobs", np.zeros(n)), np.float32),
        entropy_confidences=np.asarray(scores.get("entropies", np.ones(n)), np.float32),
    )


def golden_hypothesis(clip: dict[str, Any], **scores: Any) -> Hypothesis:
    return hypothesis_of(clip["token_ids"], clip["token_frames"], clip["token_durations"], **scores)


def spoken(*pieces: str, durations: list[int] | None = None) -> Transcript:
    """Build a transcript of these pieces of PIECES, one frame after the other."""
    ids = [PIECES.index(piece) for piece in pieces]
    frames = list(range(0, 2 * len(ids), 2))
    return build(hypothesis_of(ids, frames, durations or [1] * len(ids)), spec_of(PIECES), audio_seconds=60.0)


def times(transcript: Transcript) -> list[tuple[str, int, int]]:
    """Words with frames instead of seconds."""
    return [(word.text, round(word.start / 0.08), round(word.end / 0.08)) for word in transcript.words]


@pytest.mark.parametrize("clip_id", CLIPS)
def test_words_segments_and_text_equal_nemo(
    clip_id: str, goldens: dict[str, dict[str, Any]], tiny_spec: ModelSpec
) -> None:
    clip = goldens[clip_id]
    transcript = build(golden_hypothesis(clip), tiny_spec, audio_seconds=clip["samples_16k"] / 16000)
    assert transcript.text == clip["text"]
    assert [word.text for word in transcript.words] == [word["word"] for word in clip["words"]]
    assert [segment.text for segment in transcript.segments] == [segment["segment"] for segment in clip["segments"]]
    for ours, theirs in (
        (transcript.words, clip["words"]),
        (transcript.segments, clip["segments"]),
        (transcript.tokens, clip["chars"]),
    ):
        # Both are a frame count times 0.08; only the order of two float64 products may differ.
        np.testing.assert_allclose([item.start for item in ours], [item["start"] for item in theirs], rtol=1e-12)
        np.testing.assert_allclose([item.end for item in ours], [item["end"] for item in theirs], rtol=1e-12)
    assert [token.piece for token in transcript.tokens] == clip["tokens"]
    assert [token.frame for token in transcript.tokens] == clip["token_frames"]
    assert [token.duration for token in transcript.tokens] == clip["token_durations"]


@pytest.mark.parametrize("clip_id", [clip for clip in CLIPS if clip[:2] not in {"08", "09", "10"}])
def test_confidences_equal_nemo(
    clip_id: str, goldens: dict[str, dict[str, Any]], golden_folder: Path, tiny_spec: ModelSpec
) -> None:
    clip = goldens[clip_id]
    with np.load(golden_folder / f"{clip_id}.npz") as arrays:
        emitted = arrays["trace"][:, 1] < tiny_spec.blank_id
        logits = arrays["joint_logits"][emitted, : tiny_spec.blank_id + 1].astype(np.float64)
    best = logits.max(axis=1)
    logprobs = -np.log(np.exp(logits - best[:, None]).sum(axis=1))
    theirs = clip["confidence"]
    hypothesis = golden_hypothesis(clip, logprobs=logprobs, entropies=theirs[ENTROPY]["token"])
    entropy = build(hypothesis, tiny_spec, audio_seconds=40.0)
    np.testing.assert_allclose([word.confidence for word in entropy.words], theirs[ENTROPY]["word"], atol=1e-7)
    prob = build(hypothesis, tiny_spec, audio_seconds=40.0, confidence="max_prob")
    # NeMo's own run in float32 through exp and log: 1e-5 is its rounding.
    np.testing.assert_allclose([token.confidence for token in prob.tokens], theirs["max_prob"]["token"], atol=1e-5)
    np.testing.assert_allclose([word.confidence for word in prob.words], theirs["max_prob"]["word"], atol=1e-5)


def test_supported_punctuation_skips_word_starts_and_specials() -> None:
    assert supported_punctuation(["<!>", "[?]", "##;", "▁:", "", " ", "a,b", "."]) == {",", "."}


def test_supported_punctuation_of_the_tiny_model(tiny_spec: ModelSpec) -> None:
    assert supported_punctuation(tiny_spec.pieces) == {".", ",", "'", "?", "-"}


def test_a_lone_mark_sits_where_the_token_before_it_ends() -> None:
    transcript = spoken("▁a", "c", ".", ",")
    assert times(transcript) == [("ac.,", 0, 3)]
    assert [round(token.start / 0.08) for token in transcript.tokens] == [0, 2, 3, 3]
    assert [token.frame for token in transcript.tokens] == [0, 2, 4, 6]


def test_a_piece_with_a_mark_inside_is_not_moved() -> None:
    assert times(spoken("▁a", "'s")) == [("a's", 0, 3)]
    assert times(spoken("▁a", "'", "c")) == [("a'c", 0, 5)]


def test_the_first_token_may_be_a_mark() -> None:
    transcript = spoken("▁¿", "▁a", "?")
    assert transcript.text == "¿ a?"
    assert times(transcript) == [("¿", 0, 1), ("a?", 2, 3)]


def test_a_mark_that_begins_a_word_attaches_to_the_word_before() -> None:
    transcript = spoken("▁a", "▁¿", "c", "?")
    assert transcript.text == "a¿c?"
    assert times(transcript) == [("a ¿c?", 0, 5)]  # NeMo decodes the pieces of the word as they are


def test_a_lone_word_start_before_a_mark_gives_way_to_it() -> None:
    transcript = spoken("▁a", "▁", ".")
    assert transcript.text == "a."
    assert times(transcript) == [("a", 0, 1), (".", 2, 3)]


def test_a_lone_word_start_begins_the_word_that_follows() -> None:
    transcript = spoken("▁a", "▁", "c")
    assert (transcript.text, times(transcript)) == ("a c", [("a", 0, 1), ("c", 2, 5)])


def test_control_pieces_are_not_printed() -> None:
    assert spoken("<|en|>", "▁a", "c").text == "ac"


def test_an_unknown_piece_shows_as_sentencepiece_shows_it() -> None:
    assert spoken("▁a", "<unk>", "▁b").text == "a ⁇  b"


def test_byte_pieces_are_utf8_and_stay_in_their_word() -> None:
    transcript = spoken("▁a", "<0xC3>", "<0xA9>", "c")
    assert (transcript.text, times(transcript)) == ("aéc", [("aéc", 0, 7)])
    assert spoken("▁a", "<0xC3>", "c").text == "a�c"


def test_a_mark_long_after_its_word_does_not_lengthen_it() -> None:
    hypothesis = hypothesis_of([1, 4], [0, 90], [2, 4])
    transcript = build(hypothesis, spec_of(PIECES), audio_seconds=10.0)
    assert times(transcript) == [("a.", 0, 2)]


def test_times_of_a_padded_clip_are_shifted_and_kept_within_it() -> None:
    hypothesis = hypothesis_of([1, 2], [3, 5], [2, 8])
    transcript = build(hypothesis, spec_of(PIECES), audio_seconds=0.3, left_pad=0.35, clamp=True)
    np.testing.assert_allclose([(w.start, w.end) for w in transcript.words], [(0.0, 0.05), (0.05, 0.3)], atol=1e-12)
    assert [token.frame for token in transcript.tokens] == [3, 5]


def test_silence_is_empty() -> None:
    transcript = build(hypothesis_of([], [], []), spec_of(PIECES), audio_seconds=1.0)
    assert transcript == Transcript("", (), (), (), 1.0)


def test_max_prob_is_stretched_from_the_uniform_guess_to_certainty() -> None:
    size = len(PIECES)
    hypothesis = hypothesis_of([1, 2, 3], [0, 1, 2], [1, 1, 1], logprobs=[0.0, -math.log(size), -math.log(2)])
    tokens = build(hypothesis, spec_of(PIECES), audio_seconds=1.0, confidence="max_prob").tokens
    # float32 log-probabilities carry 6e-8
    np.testing.assert_allclose([t.confidence for t in tokens], [1.0, 0.0, (size / 2 - 1) / (size - 1)], atol=1e-6)


def test_entropy_needs_the_decoders_numbers() -> None:
    bare = Hypothesis(*(np.zeros(1, np.int32),) * 3, logprobs=np.zeros(1, np.float32))
    with pytest.raises(OptionError, match="max_prob"):
        build(bare, spec_of(PIECES), audio_seconds=1.0)
    with pytest.raises(OptionError, match="entropy, max_prob"):
        build(bare, spec_of(PIECES), audio_seconds=1.0, confidence="mean")  # type: ignore[arg-type]


emissions = st.lists(
    st.tuples(st.integers(0, len(PIECES) - 2), st.integers(0, 4), st.integers(0, 3)), max_size=30
)  # token, duration, blanks after it


@given(emissions)
def test_transcripts_hold_together(emitted: list[tuple[int, int, int]]) -> None:
    frames = np.cumsum([0] + [duration + blanks for _, duration, blanks in emitted])[:-1].tolist() if emitted else []
    hypothesis = hypothesis_of([e[0] for e in emitted], frames, [e[1] for e in emitted])
    transcript = build(hypothesis, spec_of(PIECES), audio_seconds=60.0)
    for items in (transcript.tokens, transcript.words, transcript.segments):
        bounds = [second for item in items for second in (item.start, item.end)]
        assert bounds == sorted(bounds), "times never go back"
    assert bool(transcript.words) == bool(emitted)
    joined = " ".join(segment.text for segment in transcript.segments)
    assert joined == " ".join(word.text for word in transcript.words)


ordinary = st.lists(st.sampled_from(["▁a", "▁b", "c", "'s", ".", ","]), max_size=30)


@given(ordinary)
def test_text_is_the_joined_segments(pieces: list[str]) -> None:
    transcript = spoken(*pieces)
    assert " ".join(segment.text for segment in transcript.segments) == transcript.text


@given(st.lists(st.integers(0, len(PIECES) - 2), max_size=12))
def test_decoding_never_begins_with_a_word_starts_space(ids: list[int]) -> None:
    text = Detokenizer(PIECES).decode(ids)
    first = next((i for i in ids if PIECES[i] not in {"▁", "<|en|>"}), None)
    assert not text.startswith(" ") or first is None or PIECES[first] == "<unk>"
