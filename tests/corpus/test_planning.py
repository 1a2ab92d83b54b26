"""A forecast is a simulation: small cases by hand (tools/bench_corpus.py forecast compares it with real runs)."""

from __future__ import annotations

import pytest

from tdt.corpus.planning import forecast, padded_seconds, speed_of
from tdt.errors import OptionError
from tdt.longform import BatchRule


def test_padding_is_what_the_batches_will_have() -> None:
    assert padded_seconds([2.0] * 8) == 16.0
    assert padded_seconds([2.0, 1.75, 1.5]) == 6.0
    assert padded_seconds([2.0, 1.0]) == 3.0  # too unlike to share a run
    assert padded_seconds([600.0, 2.0]) == 602.0  # windows have no padding
    assert padded_seconds([2.0, 1.9], BatchRule.of(1)) == pytest.approx(3.9)
    assert padded_seconds([]) == 0.0


def test_workers_take_the_next_shard_when_they_are_free() -> None:
    """10, 2, 2, 2 seconds of work for two workers, each of which starts in 1 s."""
    found = forecast([[1000.0], [200.0], [200.0], [200.0]], rtfx=100, workers=2, start_seconds=1.0)
    assert found.wall_seconds == pytest.approx(11.0)
    assert found.straggler_seconds == pytest.approx(11 - 7)
    assert found.longest_shard_seconds == pytest.approx(10.0)
    assert found.utilisation == pytest.approx(16 / 22)
    assert found.rtfx == pytest.approx(1600 / 11)
    assert found.padding_share == 0.0
    one = forecast([[1000.0], [200.0]], rtfx=100, workers=1)
    assert (one.wall_seconds, one.straggler_seconds) == (pytest.approx(12.0), 0.0)
    idle = forecast([[1000.0]], rtfx=100, workers=4, start_seconds=2.0)
    assert (idle.wall_seconds, idle.straggler_seconds) == (pytest.approx(12.0), pytest.approx(10.0))


def test_padding_is_charged_to_the_shard_that_has_it() -> None:
    even, uneven = [4.0] * 8, [4.0, *[3.2] * 7]
    found = forecast([even, uneven], rtfx=10, workers=2)
    assert found.padding_share == pytest.approx(1 - 58.4 / 64)
    assert found.wall_seconds == pytest.approx(32 * 58.4 / 64 / 10)


def test_nothing_to_do_is_refused() -> None:
    with pytest.raises(OptionError, match="items with durations"):
        forecast([[0.0, 0.0]], rtfx=10, workers=1)


def test_what_an_item_costs_is_learned_where_lengths_differ() -> None:
    """0.01 s a second of sound, 0.05 s an item."""
    shards = [(10, 100.0, 1.5), (40, 100.0, 3.0), (20, 400.0, 5.0), (5, 0.0, 0.1)]
    speed = speed_of(shards)
    assert speed.rtfx == pytest.approx(100.0)
    assert speed.item_seconds == pytest.approx(0.05)
    found = forecast([[2.0] * 8, [4.0] * 8], rtfx=speed.rtfx, item_seconds=speed.item_seconds, workers=1)
    assert found.wall_seconds == pytest.approx(0.16 + 0.32 + 16 * 0.05)


def test_of_equal_lengths_the_sound_bears_all() -> None:
    assert speed_of([(10, 30.0, 1.0), (20, 60.0, 2.0), (10, 30.5, 1.0)]) == (pytest.approx(120.5 / 4), 0.0)
    # Items that seem to take time off are chance.
    assert speed_of([(10, 100.0, 2.0), (40, 100.0, 1.0)]) == (pytest.approx(200 / 3), 0.0)
    with pytest.raises(OptionError, match="shards that have sound"):
        speed_of([(3, 0.0, 1.0)])
