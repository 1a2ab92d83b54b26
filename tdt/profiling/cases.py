"""What a benchmark transcribes: real recordings, alone or joined to clips of the lengths asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tdt.errors import OptionError
from tdt.spec import SAMPLE_RATE_HZ
from tdt.text import read_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tdt.stages import Float32

# Between joined recordings, so that the last word of one does not run into the first of the next.
_PAUSE_SECONDS = 0.4

# A recording this near to the length asked for stands for it as it is.
_NEAR = 0.25


@dataclass(frozen=True, slots=True)
class Recording:
    """Mono float32 samples at 16 kHz, and what was said where that is known."""

    name: str
    samples: Float32
    reference: str | None = None

    @property
    def seconds(self) -> float:
        """Length of the clip."""
        return len(self.samples) / SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True)
class Case:
    """Clips that one run transcribes, `batch` at a time."""

    clips: tuple[Recording, ...]
    batch: int

    @property
    def audio_seconds(self) -> float:
        """All clips together."""
        return sum(clip.seconds for clip in self.clips)

    @property
    def clip_seconds(self) -> float:
        """Mean length of a clip."""
        return self.audio_seconds / len(self.clips)

    @property
    def references(self) -> tuple[str, ...] | None:
        """What was said in each clip; None where one of them has no reference."""
        known = tuple(clip.reference for clip in self.clips if clip.reference is not None)
        return known if len(known) == len(self.clips) else None


def make_cases(recordings: Sequence[Recording], lengths: Sequence[float], batches: Sequence[int]) -> list[Case]:
    """Return a case for each length and batch size; a batch holds different clips as far as there are any.

    Parameters
    ----------
    recordings : sequence of Recording
    lengths : sequence of float
        Seconds; empty to take every recording as it is, all of them in each case.
    batches : sequence of int

    Raises
    ------
    OptionError
        There are no recordings, or a length or batch size is not positive.
    """
    if not recordings:
        raise OptionError("recordings", [], "at least one recording")
    for name, values in (("lengths", lengths), ("batches", batches)):
        if any(value <= 0 for value in values):
            raise OptionError(name, list(values), "positive numbers")
    if not lengths:
        return [Case(tuple(recordings), batch) for batch in batches]
    return [
        Case(tuple(clip_of(recordings, seconds, start) for start in range(batch)), batch)
        for seconds in lengths
        for batch in batches
    ]


def clip_of(recordings: Sequence[Recording], seconds: float, start: int = 0) -> Recording:
    """Return a clip of about `seconds`: a recording of that length, or several joined, never cut inside.

    `start` chooses among those that fit, so that the clips of a batch differ.
    """
    near = [clip for clip in recordings if abs(clip.seconds - seconds) <= _NEAR * seconds]
    if near:
        return sorted(near, key=lambda clip: abs(clip.seconds - seconds))[start % len(near)]
    parts: list[Recording] = []
    pause = np.zeros(round(_PAUSE_SECONDS * SAMPLE_RATE_HZ), dtype=np.float32)
    length, index = 0.0, start
    while not parts or length < seconds:
        parts.append(recordings[index % len(recordings)])
        length += parts[-1].seconds + (_PAUSE_SECONDS if len(parts) > 1 else 0.0)
        index += 1
    pieces = [piece for part in parts for piece in (part.samples, pause)][:-1]
    said = [part.reference for part in parts if part.reference is not None]
    reference = " ".join(said) if len(said) == len(parts) else None
    return Recording("+".join(part.name for part in parts), np.concatenate(pieces), reference)


def read_references(path: Path) -> dict[str, str]:
    """Return file name → what was said, from tab-separated lines ``file<TAB>text``; a heading line is left out.

    Raises
    ------
    OptionError
        The file cannot be read, or a line has no tab.
    """
    return {row[0].strip(): row[1].strip() for row in read_rows(path) if row[:2] != ["file", "text"]}


def reference_for(path: Path, references: Mapping[str, str]) -> str | None:
    """Return what was said in the file, looked up by its name with or without suffix."""
    return references.get(path.name, references.get(path.stem))


def words(text: str) -> list[str]:
    """Return the words as error rates count them: lower case, without punctuation, hyphens as spaces."""
    return re.sub(r"[^\w\s']", " ", text.lower().replace("’", "'")).split()
