"""Whether skipped speech is found: clean recordings that must stay as they are, and skips that are planted."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from _long_audio import EVAL, RATE, joined, read_clips, say

import tdt
from tdt.longform.chunking import runs
from tdt.longform.skips import sure_speech
from tdt.longform.sounds import ClipSound

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.skipping import skipping  # the engine that the tests plant skips with

if TYPE_CHECKING:
    from collections.abc import Sequence

FRAME_SECONDS = 0.08
PLANTED_SECONDS = (1.2, 6.0)
APART_SECONDS = 20.0


class Found(NamedTuple):
    """What became of planted skips."""

    planted: int
    told: int  # with a gap there
    filled: int  # with tokens there
    met: int  # with either
    lost: int  # tokens of the clean run in the stretches
    equal: int  # of these, the same token again within three frames
    elsewhere: int  # tokens outside of the stretches that the second look put in or changed

    def row(self, kind: str, skip: str) -> str:
        return (
            f"| {kind} | {skip} | {self.planted} | {self.told} | {self.filled} | {self.planted - self.met} "
            f"| {self.equal} of {self.lost} | {self.elsewhere} |"
        )


def unchanged(minutes: float, kinds: Sequence[str]) -> None:
    """Transcribe clean recordings with and without a second look."""
    asr = tdt.load()
    say("| audio | hours | tokens | changed by the second look | gaps told | cost of the second look |")
    say("|---|---|---|---|---|---|")
    clips = sorted(EVAL.glob("*.flac")) + sorted((EVAL.parent / "goldens").glob("*.flac"))
    _compare(asr, f"{len(clips)} clips, one by one", clips)
    for kind in kinds:
        sound = np.concatenate([block for block, _ in joined(read_clips(), minutes * 60, kind)])
        _compare(asr, f"joined, {kind}", [sound])


def _compare(asr: tdt.Recognizer, name: str, sources: Sequence[object]) -> None:
    plain = asr.transcribe(list(sources), second_look=False)
    if len(sources) > 1:
        asr.transcribe(list(sources))  # the detector's session is opened at its first use
    timeline = tdt.Timeline()
    looked = asr.transcribe(list(sources), timeline=timeline)
    changed = sum(one.tokens != other.tokens for one, other in zip(plain, looked, strict=True))
    gaps = sum(len(one.gaps) for one in looked)
    spent = sum(span.duration_ns for span in timeline.spans if span.name == "second look")
    whole = sum(span.duration_ns for span in timeline.spans if span.name == "call")
    hours = sum(one.audio_seconds for one in plain) / 3600
    tokens = sum(len(one.tokens) for one in plain)
    say(f"| {name} | {hours:.2f} | {tokens} | {changed} of {len(plain)} | {gaps} | {100 * spent / whole:.2f} % |")


def planted(minutes: float, kinds: Sequence[str]) -> None:
    """Skip stretches of speech, at first only and for good, and see what is found."""
    asr = tdt.load()
    say("| audio | skipped | planted | told as gaps | with words put in | neither | tokens back | put in beside |")
    say("|---|---|---|---|---|---|---|---|")
    for kind in kinds:
        sound = np.concatenate([block for block, _ in joined(read_clips(), minutes * 60, kind)])
        clean = asr.transcribe(sound, second_look=False)
        spans = _spans(sound, clean, np.random.default_rng(1))
        for again in (False, True):
            with skipping(asr, spans, again=again):
                first, found = asr.transcribe(sound, second_look=False), asr.transcribe(sound)
            say(_outcome(spans, clean, first, found).row(kind, "for good" if again else "at first"))


def _spans(sound: np.ndarray, clean: tdt.Transcript, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Return stretches, well apart, that hold a second and more of sure speech in one piece, and tokens."""
    whole = ClipSound(sound, round(FRAME_SECONDS * RATE))
    speech = np.zeros(whole.span.last, bool)
    for first, last in sure_speech(whole.speech(whole.span), 0, 4):
        speech[first:last] = True
    spans, at = [], round(APART_SECONDS / FRAME_SECONDS)
    frames = np.array([token.frame for token in clean.tokens])
    while at < len(speech) - 100:
        length = round(rng.uniform(*PLANTED_SECONDS) / FRAME_SECONDS)
        longest = max((last - first for first, last in runs(speech[at : at + length])), default=0)
        if longest >= 13 and np.any((frames >= at) & (frames < at + length)):
            spans.append((at, at + length))
            at += round(APART_SECONDS / FRAME_SECONDS)
        at += int(rng.integers(5, 20))
    return spans


def _outcome(
    spans: Sequence[tuple[int, int]], clean: tdt.Transcript, first_run: tdt.Transcript, found: tdt.Transcript
) -> Found:
    told = filled = lost = equal = met = 0
    own = [(token.frame, token.id) for token in clean.tokens]
    got = [(token.frame, token.id) for token in found.tokens]
    inside = np.zeros(round(clean.audio_seconds / FRAME_SECONDS) + 100, bool)
    for first, last in spans:
        inside[first:last] = True
        here = [(frame, token) for frame, token in own if first <= frame < last]
        new = [(frame, token) for frame, token in got if first <= frame < last]
        is_told = any(gap.start < last * FRAME_SECONDS and gap.end > first * FRAME_SECONDS for gap in found.gaps)
        told, filled, met = told + is_told, filled + bool(new), met + (is_told or bool(new))
        lost += len(here)
        equal += sum(any(token == other and abs(frame - at) <= 3 for at, other in new) for frame, token in here)
    skipped = [(token.frame, token.id) for token in first_run.tokens]
    outside = [{one for one in tokens if not inside[one[0]]} for tokens in (skipped, got)]
    return Found(len(spans), told, filled, met, lost, equal, len(outside[0] ^ outside[1]))
