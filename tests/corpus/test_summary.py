"""The numbers of a run are those of its journal."""

from __future__ import annotations

from tdt.corpus.journal import Entry, Journal
from tdt.corpus.summary import progress, summary


def entry(shard: int, at: float, errors: dict[str, int]) -> Entry:
    return Entry(shard, "id", f"part-{shard:05d}.jsonl", 10, 5, errors, 100.0, 2.0, {"encoder": 1.5, "read": 0.5}, at)


def journal() -> Journal:
    found = Journal({"model": "m"}, {}, [0.0])
    found.add(entry(0, 3.0, {"AudioReadError": 1}))
    found.add(entry(1, 4.0, {"AudioReadError": 1, "ManifestError": 2}))
    found.walls.append(0.0)
    found.add(entry(2, 1.0, {}))
    return found


def test_a_summary_counts_all_starts() -> None:
    found = summary(journal(), 4, {"tdt": "1"})
    assert (found["complete"], found["shards"], found["items"], found["failed"]) == (False, 3, 15, 4)
    assert found["errors"] == {"AudioReadError": 2, "ManifestError": 2}
    assert (found["wall_seconds"], found["worker_seconds"], found["starts"]) == (5.0, 6.0, 2)
    assert (found["rtfx"], found["rtfx_worker"]) == (60.0, 50.0)
    assert found["stage_seconds"] == {"encoder": 4.5, "read": 1.5}
    assert (found["versions"], found["fingerprint"]) == ({"tdt": "1"}, {"model": "m"})
    assert summary(journal(), 3, {})["complete"]
    assert summary(Journal(), 0, {})["rtfx"] is None


def test_progress_goes_by_this_start() -> None:
    """What would be caught: a resumed run that promises the speed of what was done before."""
    found = progress(journal(), 4, {2}, 2.0)
    assert (found.shards, found.items, found.failed, found.audio_seconds) == (3, 15, 4, 300.0)
    assert (found.rtfx, found.left_seconds) == (50.0, 2.0)
    assert progress(journal(), 4, set(), 2.0).left_seconds is None
