"""How long a run will take, from the lengths of the recordings alone: batches as they will be, workers as events."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tdt.errors import OptionError
from tdt.longform import DEFAULT_CHUNK_SECONDS, WINDOW_SECONDS, BatchRule, plan_batches, window_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

USUAL_RULE = BatchRule()


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is to be expected of a run.

    Parameters
    ----------
    wall_seconds : float
        From the start to the last shard.
    audio_seconds : float
    padding_share : float
        Part of what is computed that is padding.
    straggler_seconds : float
        From when the first worker has nothing left to do, to the end.
    longest_shard_seconds : float
        That a worker spends on the one that takes longest.
    utilisation : float
        Part of the workers' time in which they do shards.
    shards, workers : int
    """

    wall_seconds: float
    audio_seconds: float
    padding_share: float
    straggler_seconds: float
    longest_shard_seconds: float
    utilisation: float
    shards: int
    workers: int

    @property
    def rtfx(self) -> float:
        """Seconds of sound that all workers do in a second."""
        return self.audio_seconds / self.wall_seconds if self.wall_seconds else 0.0


def padded_seconds(lengths: Sequence[float], rule: BatchRule = USUAL_RULE) -> float:
    """Return how much is computed for clips of so many seconds, in order: each as long as the longest of its batch.

    What is longer than a window is cut, and counts as itself.
    """
    total, held = 0.0, list[float]()

    def run() -> float:
        return sum(len(batch) * held[batch[0]] for batch in plan_batches(held, rule))

    for length in lengths:
        if length > DEFAULT_CHUNK_SECONDS:
            total += length
            continue
        held.append(length)
        if len(held) >= window_size(rule) or sum(held) >= WINDOW_SECONDS:
            total += run()
            held = []
    return total + run()


def forecast(
    shards: Iterable[Sequence[float]],
    *,
    rtfx: float,
    workers: int,
    start_seconds: float = 0.0,
    rule: BatchRule = USUAL_RULE,
) -> Forecast:
    """Simulate a run: each shard goes to the worker that is free first, in order.

    A shard takes as long as what is computed for it, padding included; in all, one worker does `rtfx` seconds of sound
    in a second, as a run before has told.

    Parameters
    ----------
    shards : iterable of sequence of float
        Seconds of each item.
    rtfx : float
    workers : int
    start_seconds : float
        Until a worker has its model.
    rule : BatchRule, optional

    Raises
    ------
    OptionError
        There is nothing to do.
    """
    costs, audio = [], 0.0
    for lengths in shards:
        audio += sum(lengths)
        costs.append(padded_seconds(lengths, rule))
    padded = sum(costs)
    if not padded:
        raise OptionError("manifest", f"{len(costs)} shards", "items with durations")
    taken = [cost * audio / padded / rtfx for cost in costs]
    workers_used = min(workers, len(taken))
    free = [start_seconds] * workers_used
    for seconds in taken:
        heapq.heappush(free, heapq.heappop(free) + seconds)
    wall = max(free)
    return Forecast(
        wall_seconds=wall,
        audio_seconds=audio,
        padding_share=1 - audio / padded,
        straggler_seconds=wall - min(free) if workers_used == workers else wall - start_seconds,
        longest_shard_seconds=max(taken),
        utilisation=sum(taken) / (workers * wall),
        shards=len(taken),
        workers=workers,
    )
