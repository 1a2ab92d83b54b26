"""Long audio made of the evaluation clips, with something between them, and how its words are compared."""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import jiwer
import numpy as np
import soundfile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[1]
EVAL = ROOT / "tests/data/eval"
RATE = 16000
GAPS = ("silence", "pause", "none", "music", "chords", "noise")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def read_clips(voice: str = "") -> list[tuple[np.ndarray, str]]:
    with (EVAL / "transcripts.tsv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if voice in row["voice"]]
    return [(soundfile.read(EVAL / row["file"], dtype="float32")[0], row["text"]) for row in rows]


def gap(kind: str, rng: np.random.Generator) -> np.ndarray:
    """Return what lies between two clips."""
    if kind == "silence":
        return np.zeros(int(rng.uniform(0.5, 1.5) * RATE), np.float32)
    if kind == "pause":
        return rng.normal(0, 1e-4, int(rng.uniform(0.3, 2.0) * RATE)).astype(np.float32)
    if kind == "noise":
        return rng.normal(0, 0.02, int(rng.uniform(1.0, 5.0) * RATE)).astype(np.float32)
    if kind == "chords":
        return chords(int(rng.uniform(1.0, 5.0) * RATE), rng)
    if kind == "music":
        seconds = np.arange(int(rng.uniform(1.0, 5.0) * RATE)) / RATE
        notes = rng.choice([220.0, 262.0, 330.0, 392.0, 440.0], 4)
        plucked = [
            np.sin(2 * np.pi * note * seconds) * np.exp(-2 * ((4 * seconds + n) % 1)) for n, note in enumerate(notes)
        ]
        return (0.05 * np.sum(plucked, axis=0)).astype(np.float32)
    return np.zeros(0, np.float32)


def chords(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Return sustained major chords, two a second, each note with three overtones."""
    seconds = np.arange(RATE // 2) / RATE
    fade = np.minimum(1, np.minimum(seconds, seconds[::-1]) / 0.025)
    notes = [
        sum(np.sin(2 * np.pi * root * step * h * seconds) / h for step in (1, 1.25, 1.5, 2) for h in (1, 2, 3, 4))
        for root in rng.choice([110.0, 131.0, 147.0, 165.0, 196.0], -(-samples // len(seconds)))
    ]
    return np.concatenate([0.02 * fade * note for note in notes])[:samples].astype(np.float32)


def joined(
    clips: Sequence[tuple[np.ndarray, str]], seconds: float, kind: str, seed: int = 0
) -> Iterator[tuple[np.ndarray, str]]:
    """Yield clips in shuffled rounds with gaps, and their words, until there is as much audio."""
    rng = np.random.default_rng(seed)
    order: list[int] = []
    told = 0
    while told < seconds * RATE:
        order = order or rng.permutation(len(clips)).tolist()
        samples, text = clips[order.pop()]
        block = np.concatenate([samples, gap(kind, rng)])
        told += len(block)
        yield block, text


def write_joined(
    path: Path, clips: Sequence[tuple[np.ndarray, str]], seconds: float, kind: str, seed: int = 0
) -> list[str]:
    """Write such a recording; return the texts of its clips."""
    texts = []
    with soundfile.SoundFile(path, "w", RATE, 1, subtype="PCM_16") as file:
        for block, text in joined(clips, seconds, kind, seed):
            file.write(block)
            texts.append(text)
    return texts


def normal(text: str) -> str:
    return " ".join(re.sub(r"[^a-z0-9' ]", " ", text.lower().replace("-", " ")).split())


def error_rate(reference: str, hypothesis: str) -> float:
    return 100 * float(jiwer.wer(normal(reference), normal(hypothesis)))
