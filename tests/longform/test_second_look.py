"""Skipped speech is decoded again and put in, or told; where nothing was skipped, nothing is done."""

from __future__ import annotations

import io
import logging
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

import tdt
from tdt.longform import sounds
from tdt.longform.skips import Stretch, Words
from tdt.longform.windows import Cutter

from ..skipping import skipping

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CUT = {"chunk_seconds": 8.0}


def start_of(clips: list[np.ndarray], number: int) -> float:
    """Return the second at which a clip begins in the joined recording."""
    return sum(len(clip) / 16000 + 1 for clip in (clips * 2)[:number])


@pytest.fixture(scope="module")
def digits_span(clips: list[np.ndarray]) -> tuple[int, int]:
    """Frames of the digits in the joined recording, all but the first and the last."""
    begin = start_of(clips, 1)
    return round((begin + 0.9) / 0.08), round((begin + 3.4) / 0.08)


def words(transcript: tdt.Transcript) -> list[str]:
    return "".join(c for c in transcript.text.lower() if c.isalnum() or c == " ").split()


def is_told(transcript: tdt.Transcript, span: tuple[int, int]) -> bool:
    """Say whether there is one gap, which lies in a span of frames and where most of it is speech."""
    (gap,) = transcript.gaps
    begin, end = span[0] * 0.08, span[1] * 0.08
    return begin - 0.1 <= gap.start <= gap.end <= end + 0.5 and gap.end - gap.start >= 1


# --- nothing was skipped ----------------------------------------------------------------------------------------------


def test_clean_clips_stay_as_they_are_and_are_not_decoded_again(
    asr: tdt.Recognizer, golden_folder: Path, eval_folder: Path
) -> None:
    paths = sorted(golden_folder.glob("*.flac")) + sorted(eval_folder.glob("*.flac"))[::2]
    plain = asr.transcribe(paths, second_look=False)
    with skipping(asr, []) as engine:
        assert asr.transcribe(paths) == plain
        assert engine.looks == 0
    assert not any(one.gaps for one in plain)


def test_the_detector_is_asked_only_where_a_second_holds_no_token(
    asr: tdt.Recognizer, clips: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    detector = sounds.SpeechDetector

    class Counted(detector):  # type: ignore[misc, valid-type]
        def feed(self, samples: np.ndarray) -> Any:
            asked.append(len(samples))
            return super().feed(samples)

    monkeypatch.setattr(sounds, "SpeechDetector", Counted)
    found = asr.transcribe(clips)
    assert asked == []
    quiet = np.zeros(3 * 16000, np.float32)
    padded = asr.transcribe([np.concatenate([quiet, clip, quiet]) for clip in clips])
    assert len(asked) == 6
    assert max(asked) <= 6 * 16000, "the stretch, and 2 s of what is on one side of it"
    assert [one.text for one in padded] == [one.text for one in found]
    assert not any(one.gaps for one in padded)


def test_a_recording_that_was_cut_is_not_heard_by_a_detector_again(
    asr: tdt.Recognizer, joined: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sounds, "SpeechDetector", None)
    timeline = tdt.Timeline()
    assert asr.transcribe(joined, **CUT, timeline=timeline) == asr.transcribe(joined, **CUT, second_look=False)


@pytest.mark.parametrize("kind", ["music", "chords", "noise"])
def test_music_and_noise_between_the_clips_are_no_skipped_speech(
    kind: str, asr: tdt.Recognizer, clips: list[np.ndarray], rng: np.random.Generator
) -> None:
    seconds = np.arange(6 * 16000) / 16000
    fade = np.exp(-2 * ((4 * seconds) % 1))
    between = {
        "music": 0.1 * sum(np.sin(2 * np.pi * note * seconds) * fade for note in (220, 262, 330)),
        "chords": 0.02 * sum(np.sin(2 * np.pi * 110 * h * seconds) / h for h in (1, 1.25, 1.5, 2, 3, 4)),
        "noise": rng.normal(0, 0.02, len(seconds)),
    }[kind].astype(np.float32)
    sound = np.concatenate([part for clip in clips for part in (clip, between)])
    for cut in ({}, CUT):
        plain, found = asr.transcribe(sound, **cut, second_look=False), asr.transcribe(sound, **cut)  # type: ignore[call-overload]
        assert found.tokens == plain.tokens
        assert found.gaps == ()


# --- skipped at first -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [{}, CUT], ids=["one window", "cut"])
def test_words_that_were_skipped_are_put_in(
    cut: Any, asr: tdt.Recognizer, joined: np.ndarray, digits_span: tuple[int, int]
) -> None:
    clean = asr.transcribe(joined, **cut)
    with skipping(asr, [digits_span]) as engine:
        lost = asr.transcribe(joined, **cut, second_look=False)
        found = asr.transcribe(joined, **cut)
        assert engine.looks == 1
    assert len(words(lost)) <= len(words(clean)) - 4
    assert words(found) == words(clean)
    assert found.gaps == lost.gaps == ()
    frames = np.array([token.frame for token in found.tokens])
    assert np.all(np.diff(frames) >= 0)
    starts = np.array([word.start for word in found.words])
    np.testing.assert_allclose(starts, [word.start for word in clean.words], atol=0.17)


@contextmanager
def blanking(asr: tdt.Recognizer) -> Iterator[None]:
    """Have the first run of the encoder give silence for a while; the look's own windows come out as they are."""
    silence = asr.encode(asr.features(np.zeros(32000, np.float32))).frames[0, 12]

    class Blanking:
        calls = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(stages.encoder, name)

        def encode_for_decoding(self, features: tdt.Features, *_: object, **__: object) -> tdt.Encoded:
            self.calls += 1
            encoded = stages.encoder.encode(features)
            if self.calls == 1:
                encoded.frames[:, 12:44] = silence
            return encoded

    stages = asr._stages
    asr._stages = replace(stages, encoder=Blanking())  # type: ignore[arg-type]
    try:
        yield
    finally:
        asr._stages = stages


@pytest.mark.parametrize("second_look", [True, False])
def test_frames_that_an_encoder_blanks_in_the_first_window_are_heard_in_the_second(
    second_look: bool, asr: tdt.Recognizer, clips: list[np.ndarray]
) -> None:
    clean = asr.transcribe(clips[1])
    with blanking(asr):
        found = asr.transcribe(clips[1], second_look=second_look)
    assert (words(found) == words(clean)) is second_look
    assert found.gaps == ()


def test_every_way_in_finds_the_same(
    asr: tdt.Recognizer, joined: np.ndarray, digits_span: tuple[int, int], tmp_path: Path
) -> None:
    """Whole, as a stream of any pace, among others, from a pipe, by steps that somebody else schedules."""
    path = tmp_path / "a.wav"
    soundfile.write(path, joined, 16000, subtype="FLOAT")

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    with skipping(asr, [digits_span]):
        whole, lost = asr.transcribe(joined, **CUT), asr.transcribe(joined, **CUT, second_look=False)
        assert list(asr.transcribe_each([joined, path], **CUT)) == [whole, whole]
        for source in (joined, path):
            assert [one.text for one in asr.stream(source, **CUT)] == [one.text for one in whole.segments]
        # Of these each window may be looked at alone, as what was given out stays: some of the words come back.
        blocks = (joined[start : start + 8000] for start in range(0, len(joined), 8000))
        for live in (blocks, Pipe(path.read_bytes())):
            told = " ".join(one.text for one in asr.stream(live, **CUT)).split()
            assert len(lost.words) + 3 <= len(told) <= len(whole.words)
        short = asr.transcribe(joined)
        scheduled = asr.scheduled(2)
        clip = scheduled.clip(scheduled.open(path))
        from tdt.scheduled import NOTHING

        encoded = scheduled.encode([scheduled.features(clip)])
        assert scheduled.decode([clip], encoded, [NOTHING]) == [short]


def test_two_recordings_that_share_batches(
    asr: tdt.Recognizer, joined: np.ndarray, digits_span: tuple[int, int]
) -> None:
    from tdt.audio.reader import BlockReader
    from tdt.text import merged

    with skipping(asr, [digits_span], again=True):
        long_form = asr.long_form(jobs=2, **CUT)
        both = [long_form.recording(BlockReader(joined), number) for number in range(2)]
        parts = list(long_form.run(both))
        alone = asr.transcribe(joined, **CUT)
    for recording in both:
        own = [part.transcript for part in parts if part.recording is recording and part.transcript is not None]
        assert merged(own, recording.seconds) == alone


@pytest.mark.parametrize("known", [{"phrases": ["seven"]}, {"beam": 2}, {"script": "latin"}], ids=str)
def test_what_is_known_beforehand_holds_in_a_second_look(
    known: Any, asr: tdt.Recognizer, clips: list[np.ndarray]
) -> None:
    """Where it adds words, the clip was cut, so that no list of candidates is left."""
    clean = asr.transcribe(clips[1], **known)
    with blanking(asr):
        found = asr.transcribe(clips[1], **known)
    assert words(found) == words(clean)
    assert found.candidates == ()


def test_phrases_of_one_clip_are_those_of_its_second_look(asr: tdt.Recognizer, clips: list[np.ndarray]) -> None:
    given = [("Savoury", 20.0)]
    with blanking(asr):
        plain, guided = asr.transcribe([clips[1]] * 2, phrases=[None, given])
    assert words(plain) == words(asr.transcribe(clips[1]))
    assert any(word.boosted for word in guided.words[1:-1])
    assert not any(word.boosted for word in plain.words)


def test_the_rest_of_a_word_is_heard_anew_if_all_of_it_is_near(asr: tdt.Recognizer) -> None:
    look, words = asr.long_form()._second_look, Words.of(asr.spec.pieces)
    begin, rest = min(words.begin), next(token for token in range(200) if words.go_on(token))

    def after(*frames: int) -> tdt.Hypothesis:
        ids = np.array([rest] * (len(frames) - 1) + [begin], np.int32)
        return tdt.Hypothesis(ids, np.array(frames, np.int32), np.ones_like(ids), np.zeros(len(ids), np.float32))

    group = Stretch(10, 40)
    assert look._heard_anew(after(42, 44, 50), group, words) == 2
    assert look._heard_anew(after(42), group, words) == 0
    assert look._heard_anew(after(42, 44, 66), group, words) == 0, "beyond what the look has heard"
    assert look._heard_anew(after(42, 44, 60), group, words) == 0, "another stretch without tokens lies between"


def test_looks_into_one_stretch_go_on_from_each_other(asr: tdt.Recognizer) -> None:
    """Their windows overlap: what the second one hears before the end of the first one's words is left out."""
    look, words = asr.long_form()._second_look, sorted(Words.of(asr.spec.pieces).begin)

    def heard(*tokens: tuple[int, int]) -> tdt.Hypothesis:
        ids, frames = np.array([(words[number], frame) for number, frame in tokens], np.int32).T
        return tdt.Hypothesis(ids, frames, np.ones_like(ids), np.zeros(len(ids), np.float32))

    free = Stretch(5, 60)
    looks = [(free, Stretch(10, 30)), (free, Stretch(30, 50))]
    nothing = tdt.Hypothesis.empty()
    added = look._additions(nothing, looks, [heard((1, 12), (2, 31)), heard((3, 27), (2, 32), (4, 40), (5, 57))])
    assert [(one.number, one.tokens.frames.tolist()) for one in added] == [(0, [12, 31]), (0, [40])]
    apart = [(free, Stretch(10, 30)), (free, Stretch(38, 50))]
    added = look._additions(nothing, apart, [nothing, heard((3, 20), (4, 34), (5, 40))])
    assert [one.tokens.frames.tolist() for one in added] == [[34, 40]]


def test_a_recording_that_is_taken_up_knows_the_tokens_before(
    asr: tdt.Recognizer, joined: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tdt.audio.reader import BlockReader
    from tdt.longform import rounds
    from tdt.longform.checkpoint import Journal, take_up

    monkeypatch.setattr(rounds, "LOOKAHEAD_SECONDS", 8.0)
    long_form = asr.long_form(**CUT)
    recording, journal = long_form.recording(BlockReader(joined)), Journal(tmp_path / "journal", {})
    journal.begin()
    parts = 0
    for part in long_form.run([recording]):
        if part.done:
            break
        journal.add(part)
        replay = journal.read()
        assert replay is not None
        again = long_form.recording(BlockReader(joined))
        take_up(again, replay)
        assert again.recent.token_ids.tolist() == recording.recent.token_ids.tolist()
        assert again.recent.frames.tolist() == recording.recent.frames.tolist()
        assert len(again.recent) == 8
        parts += 1
    assert parts >= 2


# --- skipped for good -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [{}, CUT], ids=["one window", "cut"])
def test_speech_that_stays_empty_is_told(
    cut: Any, asr: tdt.Recognizer, joined: np.ndarray, digits_span: tuple[int, int]
) -> None:
    with skipping(asr, [digits_span], again=True):
        found, lost = asr.transcribe(joined, **cut), asr.transcribe(joined, **cut, second_look=False)
    assert is_told(found, digits_span)
    assert found.tokens == lost.tokens
    assert lost.gaps == ()
    assert isinstance(found.gaps[0], tdt.Gap)


def test_planted_skips_are_found(
    asr: tdt.Recognizer, clips: list[np.ndarray], joined: np.ndarray, rng: np.random.Generator
) -> None:
    """Sixteen stretches over the recording, each 1.3 to 3 s of speech: at least 95 % are filled or told."""
    clean = asr.transcribe(joined, **CUT)
    met = planted = 0
    for number in (0, 1, 2, 3, 4, 5, 1, 4):
        length = rng.uniform(1.6, 2.5)
        begin = start_of(clips, number) + (0.3 if number % 3 else 1.7)
        span = (round(begin / 0.08), round((begin + length) / 0.08))
        lost = [token for token in clean.tokens if span[0] <= token.frame < span[1]]
        for again in (False, True):
            with skipping(asr, [span], again=again):
                found = asr.transcribe(joined, **CUT)
            filled = [token for token in found.tokens if span[0] <= token.frame < span[1]]
            planted += 1
            met += is_told(found, span) if again else len(filled) >= len(lost) / 2
    assert met >= 0.95 * planted


def test_all_of_a_recording_with_its_ends(asr: tdt.Recognizer, clips: list[np.ndarray]) -> None:
    """All of it, over windows and blocks: the gaps are the speech that there is."""
    digits = np.concatenate([clips[1]] * 8)
    everything = [(0, len(digits) // 1280 + 2)]
    with skipping(asr, everything, again=True):
        silent = asr.transcribe(digits, **CUT)
    assert silent.tokens == ()
    assert sum(gap.end - gap.start for gap in silent.gaps) > 0.6 * len(digits) / 16000
    assert all(one.end <= other.start for one, other in pairwise(silent.gaps))
    assert silent.gaps[-1].end <= len(digits) / 16000 + 0.08
    with skipping(asr, everything):
        found = asr.transcribe(digits, **CUT)
    whole = asr.transcribe(digits, **CUT)
    assert len(words(found)) > 0.8 * len(words(whole))
    assert np.all(np.diff([token.frame for token in found.tokens]) >= 0)


def test_a_recording_that_breaks_off_tells_its_gaps_in_what_is_left(
    asr: tdt.Recognizer, joined: np.ndarray, digits_span: tuple[int, int], tmp_path: Path
) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, joined, 16000)
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) * 3 // 4])
    with skipping(asr, [digits_span], again=True), pytest.raises(tdt.AudioTailError) as caught:
        asr.transcribe(path, **CUT)
    assert isinstance(caught.value.partial, tdt.Transcript)
    assert is_told(caught.value.partial, digits_span)


def test_a_second_look_that_fails_costs_nobody_the_first(
    asr: tdt.Recognizer,
    joined: np.ndarray,
    digits_span: tuple[int, int],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tdt.longform.second_look import SecondLook

    def fail(*_: object) -> None:
        raise RuntimeError("the card is gone")

    with skipping(asr, [digits_span]) as engine, caplog.at_level(logging.WARNING, "tdt"):
        lost = asr.transcribe(joined, **CUT, second_look=False)
        monkeypatch.setattr(SecondLook, "_decoded", fail)
        found = asr.transcribe(joined, **CUT)
        assert engine.looks == 0
    assert found.tokens == lost.tokens
    assert is_told(found, digits_span)
    assert "could not be decoded again" in caplog.text
    assert "the card is gone" in caplog.text


# --- cost -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [{}, CUT], ids=["one window", "cut"])
def test_what_it_costs_is_a_stage_of_its_own(
    cut: Any, asr: tdt.Recognizer, joined: np.ndarray, digits_span: tuple[int, int]
) -> None:
    from tdt.profiling.breakdown import break_down

    def stages(second_look: bool) -> dict[str, int]:
        timeline = tdt.Timeline()
        asr.transcribe(joined, **cut, second_look=second_look, timeline=timeline)
        return {row.name: row.count for row in break_down(timeline).stages}

    with skipping(asr, [digits_span]):
        with_it, without = stages(True), stages(False)
    assert with_it.pop("second look") >= 1
    assert with_it == without, "the other stages are charged with nothing of it"


# --- the detector's verdicts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1000, 16000, 1 << 20])
def test_windows_carry_what_the_detector_said_of_their_frames(
    block: int, asr: tdt.Recognizer, joined: np.ndarray
) -> None:
    plan = asr.long_form(**CUT).plan
    reference = sounds.ClipSound(joined, 1280)
    known = reference.speech(reference.span)
    blocks = [joined[start : start + block] for start in range(0, len(joined), block)]
    for window, samples, speech in [(p.window, p.samples, p.speech) for p in Cutter(plan, 1280).pieces(blocks)]:
        assert len(speech) == window.end - window.begin == -(-len(samples) // 1280)
        whole = min(window.end, len(known))
        np.testing.assert_allclose(speech[: whole - window.begin], known[window.begin : whole], atol=1e-4)


def test_options_are_checked(asr: tdt.Recognizer) -> None:
    with pytest.raises(tdt.OptionError, match="second_look"):
        asr.transcribe(np.zeros(16000, np.float32), second_look="no")  # type: ignore[call-overload]
    with pytest.raises(tdt.OptionError, match="second_look"):
        asr.transcribe_each([], second_look=None)  # type: ignore[typeddict-item]
