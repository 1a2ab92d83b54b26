"""Does live recognition keep up: what its steps cost, whether that is faster than speech, and what would be."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# One slow step is no verdict.
_STEPS_WATCHED = 5
# Steps kept for the percentiles: the last ten hours of a chunk of two seconds.
_MOST_STEPS = 18_000


@dataclass(frozen=True, slots=True)
class Shape:
    """What a step is made of, in seconds.

    Parameters
    ----------
    left, chunk, right : float
    """

    left: float
    chunk: float
    right: float

    @property
    def latency_seconds(self) -> float:
        """The longest time from a sound to the step that decodes it, computing aside."""
        return self.chunk + self.right

    def load(self, cost: float) -> float:
        """Return computing a second of audio where a second of the encoder's input costs so much."""
        return cost * (self.left + self.chunk + self.right) / self.chunk


@dataclass(slots=True)
class Pace:
    """The steps of a stream and what they took.

    Parameters
    ----------
    shape : Shape
    """

    shape: Shape
    steps: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST_STEPS))
    computed_seconds: float = 0.0
    audio_seconds: float = 0.0
    warned: bool = False

    def add(self, took: float, audio_seconds: float) -> None:
        """Take note of a step, or of what comes after the last, over so much new audio."""
        self.computed_seconds += took
        self.audio_seconds += audio_seconds
        if audio_seconds:
            self.steps.append(took)

    @property
    def speed(self) -> float:
        """Times real time."""
        return self.audio_seconds / max(self.computed_seconds, 1e-9)

    def falls_behind(self) -> float | None:
        """Return how many times real time the last steps took, once, where that is more than speech allows."""
        if self.warned or len(self.steps) < _STEPS_WATCHED:
            return None
        taken = sum(list(self.steps)[-_STEPS_WATCHED:]) / (_STEPS_WATCHED * self.shape.chunk)
        if taken <= 1:
            return None
        self.warned = True
        return taken

    def summary(self) -> str:
        """Return what it cost, in a sentence."""
        latency = f"latency by design {self.shape.latency_seconds:.2f} s (chunk + right)"
        if not self.steps:
            return latency
        taken = sorted(self.steps)
        half, most = taken[len(taken) // 2], taken[min(len(taken) - 1, int(0.95 * len(taken)))]
        return (
            f"{latency}; a chunk of {self.shape.chunk:.2f} s computes {1000 * half:.0f} ms (p50), "
            f"{1000 * most:.0f} ms (p95); {self.speed:.1f} x real time"
        )


def advice(shape: Shape, taken: float, presets: Mapping[int, Shape]) -> str:
    """Say that computing is slower than speech, and which preset would hold.

    Parameters
    ----------
    shape : Shape
        What runs.
    taken : float
        Computing a second of audio.
    presets : mapping of int to Shape
        By their names.
    """
    cost = taken * shape.chunk / (shape.left + shape.chunk + shape.right)
    loads = {name: preset.load(cost) for name, preset in presets.items()}
    holding = [name for name, load in loads.items() if load < 1]
    behind = f"computing is slower than speech ({taken:.1f} s a second): text comes ever later"
    if holding:
        quickest = min(holding)
        return f"{behind}; --latency {quickest} would hold ({loads[quickest]:.1f} s a second)"
    return f"{behind}; no preset would hold here: try --precision int8, a card, or less --left"
