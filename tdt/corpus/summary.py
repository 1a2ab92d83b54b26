"""The numbers of a run, from its journal: pure functions."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tdt.corpus.journal import Journal


class Progress(NamedTuple):
    """How far a run is.

    Parameters
    ----------
    shards, all_shards : int
        Done, and to be done in all.
    items, failed : int
        Done, and those of them that are lines with an error.
    audio_seconds : float
        Recognised in all.
    fresh_seconds : float
        Recognised since this start, in `took` seconds.
    took : float
    fresh_shards : int
        Done since this start.
    """

    shards: int
    all_shards: int
    items: int
    failed: int
    audio_seconds: float
    fresh_seconds: float
    took: float
    fresh_shards: int

    @property
    def rtfx(self) -> float:
        """Seconds of sound a second, since this start."""
        return self.fresh_seconds / self.took if self.took > 0 else 0.0

    @property
    def left_seconds(self) -> float | None:
        """How long the rest takes if shards go on coming as they have; None before the first."""
        if not self.fresh_shards:
            return None
        return (self.all_shards - self.shards) * self.took / self.fresh_shards


def progress(journal: Journal, all_shards: int, fresh: set[int], took: float) -> Progress:
    """Return how far a run is; `fresh` are the shards done since this start."""
    entries = journal.done.values()
    return Progress(
        len(journal.done),
        all_shards,
        sum(entry.items for entry in entries),
        sum(sum(entry.errors.values()) for entry in entries),
        sum(entry.audio_seconds for entry in entries),
        sum(entry.audio_seconds for entry in entries if entry.shard in fresh),
        took,
        len(fresh),
    )


def summary(journal: Journal, all_shards: int, versions: Mapping[str, str]) -> dict[str, Any]:
    """Return what `_summary.json` holds.

    `rtfx` is sound over the time of all starts, `rtfx_worker` over the time that workers were busy: what one does.
    """
    errors: Counter[str] = Counter()
    stages: Counter[str] = Counter()
    for entry in journal.done.values():
        errors.update(entry.errors)
        stages.update(entry.stages)
    audio = sum(entry.audio_seconds for entry in journal.done.values())
    busy = sum(entry.seconds for entry in journal.done.values())
    wall = sum(journal.walls)
    return {
        "complete": len(journal.done) == all_shards,
        "shards": len(journal.done),
        "items": sum(entry.items for entry in journal.done.values()),
        "failed": errors.total(),
        "errors": dict(errors.most_common()),
        "hours": round(audio / 3600, 6),
        "wall_seconds": round(wall, 3),
        "worker_seconds": round(busy, 3),
        "rtfx": round(audio / wall, 2) if wall else None,
        "rtfx_worker": round(audio / busy, 2) if busy else None,
        "starts": len(journal.walls),
        "stage_seconds": {name: round(float(seconds), 3) for name, seconds in stages.items()},
        "versions": dict(versions),
        "fingerprint": journal.fingerprint,
    }
