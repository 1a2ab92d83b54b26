"""When to measure, and how often: warm up, then at least ten runs and three seconds each, contenders in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tdt.profiling.cautions import MIN_RUNS, MIN_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True)
class Budget:
    """How long to measure one contender on one case.

    Parameters
    ----------
    runs : int
        At least as many.
    seconds : float
        At least as long, all runs together.
    most_seconds : float
        No further run is begun after this, however few there were.
    warmup_seconds : float
        Untimed runs before, one at least.
    """

    runs: int = MIN_RUNS
    seconds: float = MIN_SECONDS
    most_seconds: float = 60.0
    warmup_seconds: float = 0.5


@dataclass(slots=True)
class Samples:
    """Seconds of each run: the very first, and those that count."""

    first: float
    timed: list[float]

    def enough(self, budget: Budget) -> bool:
        """Tell whether no further run is needed."""
        total = sum(self.timed)
        return (len(self.timed) >= budget.runs and total >= budget.seconds) or total >= budget.most_seconds


def measure(contenders: Sequence[Callable[[], float]], firsts: Sequence[float], budget: Budget) -> list[Samples]:
    """Return samples of each contender, taken in turn (A B A B …) so that what disturbs one disturbs all.

    Parameters
    ----------
    contenders : sequence of callable
        Each runs once and returns the seconds that it took.
    firsts : sequence of float
        Seconds of the very first run of each, which the caller has done.
    budget : Budget
    """
    taken = []
    for run, first in zip(contenders, firsts, strict=True):
        warm = 0.0
        while warm < budget.warmup_seconds:
            warm += max(run(), 1e-6)
        taken.append(Samples(first, []))
    while not all(samples.enough(budget) for samples in taken):
        for run, samples in zip(contenders, taken, strict=True):
            if not samples.enough(budget):
                samples.timed.append(run())
    return taken
