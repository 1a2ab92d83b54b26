"""Word errors of long recordings against those of the clips they are made of, over several draws of the clips."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from _long_audio import error_rate, read_clips, say, write_joined

import tdt

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Short recordings hold few words, so that one draw says little: several are made of up to this many minutes.
DRAWN_MINUTES = 10


class Measured(NamedTuple):
    """Word error rates in percent, and the speed of the run with the default windows."""

    alone: float
    default: float
    short: float
    speed: float


def wer(minutes: Sequence[float], gaps: Sequence[str], seeds: int, folder: Path) -> None:
    clips = read_clips()
    with tdt.load() as asr:
        own = {text: asr.transcribe(samples).text for samples, text in clips}
        say("| audio | between | draws | alone | default (60 s) | mean | worst | 6 s windows | x real time |")
        say("|---|---|---|---|---|---|---|---|---|")
        for length in minutes:
            for kind in gaps:
                draws = seeds if length <= DRAWN_MINUTES else 1
                found = []
                for seed in range(draws):
                    texts = write_joined(folder / "long.wav", clips, length * 60, kind, seed)
                    found.append(measure(asr, folder / "long.wav", texts, own, length * 60))
                say(row(length, kind, found))


def measure(asr: tdt.Recognizer, path: Path, texts: Sequence[str], own: dict[str, str], seconds: float) -> Measured:
    reference = " ".join(texts)
    alone = error_rate(reference, " ".join(own[text] for text in texts))
    start = time.perf_counter()
    default = error_rate(reference, asr.transcribe(path).text)
    speed = seconds / (time.perf_counter() - start)
    return Measured(alone, default, error_rate(reference, asr.transcribe(path, chunk_seconds=6).text), speed)


def row(length: float, kind: str, found: Sequence[Measured]) -> str:
    alone, default, short, speed = np.mean(found, axis=0)
    more = [draw.default - draw.alone for draw in found]
    return (
        f"| {length:g} min | {kind} | {len(found)} | {alone:.1f} | {default:.1f} | {np.mean(more):+.1f} "
        f"| {max(more):+.1f} | {short:.1f} | {speed:.0f} |"
    )
