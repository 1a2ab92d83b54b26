"""What happens to words where windows meet: speech without pauses, cut, against the same uncut."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from _long_audio import RATE, joined, normal, read_clips, say

import tdt
from tdt import limits

if TYPE_CHECKING:
    from collections.abc import Sequence


def trimmed(samples: np.ndarray) -> np.ndarray:
    """Drop the quiet ends of a clip."""
    frames = samples[: len(samples) // 160 * 160].reshape(-1, 160)
    loud = np.flatnonzero(np.sqrt((frames**2).mean(axis=1)) > 0.01)
    return samples[loud[0] * 160 : (loud[-1] + 1) * 160]


def word_list(transcript: tdt.Transcript) -> list[tuple[str, float, float]]:
    return [(normal(word.text), word.start, word.end) for word in transcript.words]


def cuts(
    asr: tdt.Recognizer, samples: np.ndarray, chunk: float, context: float | None
) -> tuple[tdt.Transcript, list[float]]:
    """Transcribe, and return where the windows met."""
    from tdt.reader import BlockReader
    from tdt.windows import Cutter

    long_form = asr.long_form(chunk_seconds=chunk, context_seconds=context)
    windows = [piece.window for piece in Cutter(long_form.plan, 1280).pieces(BlockReader(samples))]
    found = asr.transcribe(samples, chunk_seconds=chunk, context_seconds=context)
    return found, [window.first * 0.08 for window in windows[1:]]


def compare(uncut: tdt.Transcript, cut: tdt.Transcript, seams: Sequence[float]) -> str:
    """Compare words by time: what is missing or doubled within a second of a seam, and how far equal words moved."""
    expected, got = word_list(uncut), word_list(cut)

    def alone(words: Sequence[tuple[str, float, float]], others: Sequence[tuple[str, float, float]]) -> list[float]:
        return [s for _, s, e in words if not any(s2 < e + 0.16 and e2 > s - 0.16 for _, s2, e2 in others)]

    def near(times: Sequence[float]) -> int:
        return sum(any(abs(time - seam) <= 1 for seam in seams) for time in times)

    missing, added = alone(expected, got), alone(got, expected)
    doubled = sum(
        a[0] == b[0] and any(abs(b[1] - seam) <= 1 for seam in seams) and _times_said(expected, a[0], a[1], b[2]) < 2
        for a, b in pairwise(got)
    )
    nearest = [min((abs(s - s2) for w2, s2, _ in expected if w == w2), default=9.0) for w, s, _ in got]
    moved = [distance for distance in nearest if distance < 0.4]
    starts, ends = np.array([w[1] for w in got]), np.array([w[2] for w in got])
    forward = bool(np.all(np.diff(starts) >= 0) and np.all(starts[1:] >= ends[:-1] - 1e-9))
    within = 100 * np.mean(np.array(moved) <= 0.0801) if moved else 100.0
    seam_words = near([w[1] for w in expected])
    return (
        f"{len(seams)} | {near(missing)} of {seam_words} | {near(added)} | {doubled} "
        f"| {len(missing)} of {len(expected)} | {within:.1f} % | {'yes' if forward else 'NO'}"
    )


def _times_said(words: Sequence[tuple[str, float, float]], word: str, start: float, end: float) -> int:
    return sum(w == word and s < end + 0.16 and e > start - 0.16 for w, s, e in words)


def seams(contexts: Sequence[float | None], ways: Sequence[bool]) -> None:
    with tdt.load() as asr:
        heads = "speech | cuts | window | context | seams | missing within 1 s of one | added there | doubled there"
        say(f"| {heads} | missing anywhere | equal words within a frame | in order |")
        say("|---|---|---|---|---|---|---|---|---|---|---|")
        kept = limits.LEAST_PAUSE_SECONDS, limits.SMALL_PAUSE_SECONDS
        for name, voice in (("one voice", "hibari"), ("ten voices", "")):
            blocks = [(trimmed(samples), text) for samples, text in read_clips(voice)]
            samples = np.concatenate([block for block, _ in joined(blocks, 190, "none")])[: 190 * RATE]
            uncut = asr.transcribe(samples, chunk_seconds=200)
            for through in ways:
                limits.LEAST_PAUSE_SECONDS, limits.SMALL_PAUSE_SECONDS = (1e3, 1e3) if through else kept
                for chunk in (20.0, 30.0, 60.0):
                    for context in contexts:
                        found, at = cuts(asr, samples, chunk, context)
                        label = "through speech" if through else "as by default"
                        shown = "default" if context is None else f"{context:g} s"
                        say(f"| {name} | {label} | {chunk:g} s | {shown} | {compare(uncut, found, at)} |")
        limits.LEAST_PAUSE_SECONDS, limits.SMALL_PAUSE_SECONDS = kept
