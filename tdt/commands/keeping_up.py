"""Does live recognition keep up: what its steps cost, whether that is faster than speech, and what would be."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tdt.profiling import summarize
from tdt.spec import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tdt.live import Contexts

# One slow step is no verdict.
_STEPS_WATCHED = 5
# Steps kept for the percentiles: the last ten hours of a chunk of two seconds.
_MOST_STEPS = 18_000


@dataclass(slots=True)
class Pace:
    """The steps of a stream and what they took.

    Parameters
    ----------
    contexts : Contexts
        What a step is made of.
    """

    contexts: Contexts
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
    def _chunk_seconds(self) -> float:
        return self.contexts.chunk_samples / SAMPLE_RATE_HZ

    @property
    def speed(self) -> float:
        """Times real time."""
        return self.audio_seconds / max(self.computed_seconds, 1e-9)

    def falls_behind(self) -> float | None:
        """Return how many times real time the last steps took, once, where that is more than speech allows."""
        if self.warned or len(self.steps) < _STEPS_WATCHED:
            return None
        taken = sum(list(self.steps)[-_STEPS_WATCHED:]) / (_STEPS_WATCHED * self._chunk_seconds)
        if taken <= 1:
            return None
        self.warned = True
        return taken

    def summary(self) -> str:
        """Return what it cost, in a sentence."""
        latency = f"latency by design {self.contexts.latency_seconds:.2f} s (chunk + right)"
        if not self.steps:
            return latency
        taken = summarize(list(self.steps))
        return (
            f"{latency}; a chunk of {self._chunk_seconds:.2f} s computes {1000 * taken.median:.0f} ms (p50), "
            f"{1000 * taken.p95:.0f} ms (p95); {self.speed:.1f} x real time"
        )


def advice(contexts: Contexts, taken: float, presets: Mapping[int, Contexts]) -> str:
    """Say that computing is slower than speech, and which preset would hold.

    Parameters
    ----------
    contexts : Contexts
        What runs.
    taken : float
        Computing a second of audio.
    presets : mapping of int to Contexts
        By their names.
    """
    cost = taken / contexts.times_the_audio  # of a second that the encoder hears
    loads = {name: cost * preset.times_the_audio for name, preset in presets.items()}
    holding = [name for name, load in loads.items() if load < 1]
    behind = f"computing is slower than speech ({taken:.1f} s a second): text comes ever later"
    if holding:
        quickest = min(holding)
        return f"{behind}; --latency {quickest} would hold ({loads[quickest]:.1f} s a second)"
    return f"{behind}; no preset would hold here: try --precision int8, a card, or less --left"
