"""How long a run will take, from the lengths of the recordings alone: batches as they will be, workers as events."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tdt.errors import OptionError
from tdt.longform import DEFAULT_CHUNK_SECONDS, WINDOW_SECONDS, BatchRule, plan_batches, window_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

USUAL_RULE = BatchRule()
# How unlike the mean lengths of shards must be, for what an item costs to be told from what its sound costs: so much of
# the shards' seconds is not explained by how many items they have.
UNLIKE = 0.02


class Speed(NamedTuple):
    """What a worker's time goes into: `rtfx` seconds of sound a second, and so many seconds an item, however short."""

    rtfx: float
    item_seconds: float = 0.0


def speed_of(shards: Sequence[tuple[int, float, float]]) -> Speed:
    """Return how fast a worker was, by least squares over the shards of a run.

    Where all shards have recordings of about the same mean length, an item's own cost cannot be told apart; it is then
    in that of the sound.

    Parameters
    ----------
    shards : sequence of (int, float, float)
        Items, seconds of sound, seconds that a worker took.

    Raises
    ------
    OptionError
        There is nothing to learn from.
    """
    told = [(items, audio, took) for items, audio, took in shards if audio > 0 and took > 0]
    if not told:
        raise OptionError("--like", f"a run with {len(shards)} shards", "shards that have sound")
    rtfx = sum(audio for _, audio, _ in told) / sum(took for _, _, took in told)
    ii, ia, aa = (sum(left * right for left, right in pairs) for pairs in (
        [(items, items) for items, _, _ in told],
        [(items, audio) for items, audio, _ in told],
        [(audio, audio) for _, audio, _ in told],
    ))  # fmt: skip
    it, at = sum(items * took for items, _, took in told), sum(audio * took for _, audio, took in told)
    apart = ii * aa - ia * ia
    if apart < UNLIKE * ii * aa:
        return Speed(rtfx)
    each, sound = (it * aa - at * ia) / apart, (at * ii - it * ia) / apart
    if each <= 0 or sound <= 0:  # chance: costs are not negative
        return Speed(rtfx)
    return Speed(1 / sound, each)


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
    item_seconds: float = 0.0,
    rule: BatchRule = USUAL_RULE,
) -> Forecast:
    """Simulate a run: each shard goes to the worker that is free first, in order.

    A shard takes as long as what is computed for it, padding included, and `item_seconds` an item besides; of the
    former, one worker does `rtfx` seconds of sound in a second, as a run before has told (:func:`speed_of`).

    Parameters
    ----------
    shards : iterable of sequence of float
        Seconds of each item.
    rtfx : float
    workers : int
    start_seconds : float
        Until a worker has its model.
    item_seconds : float
        What an item costs however short it is.
    rule : BatchRule, optional

    Raises
    ------
    OptionError
        There is nothing to do.
    """
    costs, items, audio = [], [], 0.0
    for lengths in shards:
        audio += sum(lengths)
        costs.append(padded_seconds(lengths, rule))
        items.append(len(lengths))
    padded = sum(costs)
    if not padded:
        raise OptionError("manifest", f"{len(costs)} shards", "items with durations")
    taken = [cost * audio / padded / rtfx + count * item_seconds for cost, count in zip(costs, items, strict=True)]
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
