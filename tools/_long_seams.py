"""What happens to words where windows meet: speech without pauses, cut, against the same uncut."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from _long_audio import RATE, joined, normal, read_clips, say

import tdt
from tdt.longform import limits

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Those with at least four clips.
VOICES = ("hibari-heart", "flite-rms", "fsdd-theo", "piper-joe", "flite-slt", "fest-slt-hts")
SECONDS = 190
Timed = tuple[str, float, float]


def trimmed(samples: np.ndarray) -> np.ndarray:
    """Drop the quiet ends of a clip."""
    frames = samples[: len(samples) // 160 * 160].reshape(-1, 160)
    loud = np.flatnonzero(np.sqrt((frames**2).mean(axis=1)) > 0.01)
    return samples[loud[0] * 160 : (loud[-1] + 1) * 160]


def word_list(transcript: tdt.Transcript) -> list[Timed]:
    return [(normal(word.text), word.start, word.end) for word in transcript.words]


def cuts(
    asr: tdt.Recognizer, samples: np.ndarray, chunk: float, context: float | None
) -> tuple[tdt.Transcript, list[float]]:
    """Transcribe, and return where the windows met."""
    from tdt.audio.reader import BlockReader
    from tdt.longform.windows import Cutter

    long_form = asr.long_form(chunk_seconds=chunk, context_seconds=context)
    windows = [piece.window for piece in Cutter(long_form.plan, 1280).pieces(BlockReader(samples))]
    found = asr.transcribe(samples, chunk_seconds=chunk, context_seconds=context)
    return found, [window.first * 0.08 for window in windows[1:]]


class Met(NamedTuple):
    """What became of words where windows met; `near` is within a second of a seam."""

    seams: int
    near_words: int
    near_missing: int
    near_added: int
    doubled: int
    words: int
    missing: int
    equal: int
    within_frame: int
    backward: int

    def row(self) -> str:
        within = 100 * self.within_frame / max(1, self.equal)
        return (
            f"{self.seams} | {self.near_missing} of {self.near_words} | {self.near_added} | {self.doubled} "
            f"| {self.missing} of {self.words} | {within:.1f} % | {'NO' if self.backward else 'yes'}"
        )


def compare(uncut: tdt.Transcript, cut: tdt.Transcript, seams: Sequence[float]) -> Met:
    """Compare words by time: what is missing or doubled at a seam, and how far equal words moved."""
    expected, got = word_list(uncut), word_list(cut)

    def alone(words: Sequence[Timed], others: Sequence[Timed]) -> list[float]:
        return [s for _, s, e in words if not any(s2 < e + 0.16 and e2 > s - 0.16 for _, s2, e2 in others)]

    def near(times: Sequence[float]) -> int:
        return sum(any(abs(time - seam) <= 1 for seam in seams) for time in times)

    missing = alone(expected, got)
    doubled = [
        b[1] for a, b in pairwise(got) if a[0] == b[0] and not _two_there(expected, a[0], a[1], b[2]) and near([b[1]])
    ]
    nearest = [min((abs(s - s2) for w2, s2, _ in expected if w == w2), default=9.0) for w, s, _ in got]
    moved = np.array([distance for distance in nearest if distance < 0.4])
    backward = sum(b[1] < max(a[1], a[2] - 1e-9) for a, b in pairwise(got))
    return Met(
        len(seams),
        near([w[1] for w in expected]),
        near(missing),
        near(alone(got, expected)),
        len(doubled),
        len(expected),
        len(missing),
        len(moved),
        int(np.sum(moved <= 0.0801)),
        backward,
    )


def _two_there(words: Sequence[Timed], word: str, start: float, end: float) -> bool:
    """Say whether two words lie in a stretch: any two, or this one twice and a frame or two away."""
    inside = sum(s < end and e > start for _, s, e in words)
    return inside > 1 or sum(w == word and s < end + 0.16 and e > start - 0.16 for w, s, e in words) > 1


def seams(contexts: Sequence[float | None], ways: Sequence[bool]) -> None:
    heads = "speech | cuts | window | context | seams | missing within 1 s of one | added there | doubled there"
    say(f"| {heads} | missing anywhere | equal words within a frame | in order |")
    say("|---|---|---|---|---|---|---|---|---|---|---|")
    with tdt.load() as asr:
        for name, voices in (("six voices, each by itself", VOICES), ("ten voices", ("",))):
            speech = [unpaused(voice) for voice in voices]
            uncut = [asr.transcribe(samples, chunk_seconds=200) for samples in speech]
            for through in ways:
                for chunk in (20.0, 30.0, 60.0):
                    for context in contexts:
                        with pauses_that_cut(not through):
                            found = [cuts(asr, samples, chunk, context) for samples in speech]
                        met = [compare(whole, cut, at) for whole, (cut, at) in zip(uncut, found, strict=True)]
                        label = "through speech" if through else "as by default"
                        shown = "default" if context is None else f"{context:g} s"
                        say(f"| {name} | {label} | {chunk:g} s | {shown} | {Met(*np.sum(met, axis=0)).row()} |")


def unpaused(voice: str) -> np.ndarray:
    """Return 190 s of clips of a voice, or of all, without the quiet between them."""
    blocks = [(trimmed(samples), text) for samples, text in read_clips(voice)]
    return np.concatenate([block for block, _ in joined(blocks, SECONDS, "none")])[: SECONDS * RATE]


@contextmanager
def pauses_that_cut(allowed: bool) -> Iterator[None]:
    """Let pauses end windows as by default, or not at all."""
    kept = limits.LEAST_PAUSE_SECONDS, limits.SMALL_PAUSE_SECONDS
    if not allowed:
        limits.LEAST_PAUSE_SECONDS, limits.SMALL_PAUSE_SECONDS = (1e3, 1e3)
    try:
        yield
    finally:
        limits.LEAST_PAUSE_SECONDS, limits.SMALL_PAUSE_SECONDS = kept
