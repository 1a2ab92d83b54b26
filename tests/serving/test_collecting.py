"""Which entries share a run: turns, lengths, limits and waiting, by a clock of the test's own."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from tdt.longform import BatchRule
from tdt.serving.collecting import NEAR_BATCHES, Waiting


@dataclass(eq=False)
class Waiter:
    request: object
    seconds: float
    arrived: float = 0.0
    gone: bool = False


def waiting(*entries: Waiter, most: int = 4, longest: float = 1000.0, collect: float = 0.005) -> Waiting[Waiter]:
    found: Waiting[Waiter] = Waiting(BatchRule(most, lambda clips, seconds: clips * seconds <= longest), collect)
    for entry in entries:
        found.add(entry)
    return found


def test_nothing_waits() -> None:
    line = waiting()
    assert line.wait_seconds(0.0, idle=True) is None
    assert line.take() == []
    assert len(line) == 0


def test_an_idle_encoder_takes_at_once_a_busy_one_after_the_time_of_the_first() -> None:
    line = waiting(Waiter("a", 3, 10.0), Waiter("b", 3, 10.002))
    assert line.wait_seconds(10.002, idle=True) == 0.0
    assert abs((line.wait_seconds(10.002, idle=False) or 0) - 0.003) < 1e-9
    assert line.wait_seconds(10.006, idle=False) == 0.0


def test_a_full_batch_waits_for_nothing() -> None:
    line = waiting(*(Waiter(name, 3, 10.0) for name in "abcd"))
    assert line.wait_seconds(10.0, idle=False) == 0.0


def test_a_batch_is_of_like_length_longest_first() -> None:
    entries = [Waiter(name, seconds) for name, seconds in zip("abcdef", (4.0, 9.0, 4.4, 1.0, 4.2, 30.0), strict=True)]
    line = waiting(*entries)
    assert [entry.seconds for entry in line.take()] == [4.4, 4.2, 4.0]
    assert [entry.seconds for entry in line.take()] == [9.0]  # the oldest that is left, whatever its length
    assert [entry.seconds for entry in line.take()] == [1.0]
    assert [entry.seconds for entry in line.take()] == [30.0]
    assert line.take() == []


def test_what_a_batch_holds_is_limited_by_number_and_by_padded_seconds() -> None:
    line = waiting(*(Waiter(number, 10.0) for number in range(9)), most=4, longest=30.0)
    assert [len(line.take()) for _ in range(3)] == [3, 3, 3]
    line = waiting(*(Waiter(number, 1.0) for number in range(9)), most=4, longest=30.0)
    assert [len(line.take()) for _ in range(3)] == [4, 4, 1]


def test_one_alone_always_runs() -> None:
    line = waiting(Waiter("a", 50.0), longest=10.0)
    assert len(line.take()) == 1


def test_requests_take_turns_whatever_one_of_them_brings_at_once() -> None:
    hours = [Waiter("hours", 20.0) for _ in range(6)]
    line = waiting(*hours, Waiter("b", 3.0), Waiter("c", 8.0), most=1)
    order = [line.take()[0].request for _ in range(8)]
    assert order == ["hours", "b", "c", "hours", "hours", "hours", "hours", "hours"]


def test_whoever_has_gone_is_passed_over() -> None:
    entries = [Waiter(name, 3.0) for name in "abc"]
    line = waiting(*entries)
    entries[0].gone = entries[2].gone = True
    assert line.take() == [entries[1]]
    assert line.wait_seconds(0.0, idle=False) is None


@given(st.lists(st.floats(0.1, 60.0), min_size=1, max_size=60), st.integers(1, 8))
def test_all_are_taken_once_and_none_waits_longer_than_its_turn(lengths: list[float], most: int) -> None:
    entries = [Waiter(number, seconds) for number, seconds in enumerate(lengths)]
    line = waiting(*entries, most=most)
    taken: list[Waiter] = []
    while batch := line.take():
        oldest = min(number for number, entry in enumerate(entries) if entry not in taken)
        assert entries[oldest] in batch
        assert [entry.seconds for entry in batch] == sorted((entry.seconds for entry in batch), reverse=True)
        assert batch[0].seconds - batch[-1].seconds <= max(0.25 * batch[0].seconds, 0.5)
        reach = [entry for entry in entries if entry not in taken][: NEAR_BATCHES * most + 1]
        assert set(map(id, batch)) <= set(map(id, reach))
        taken += batch
    assert sorted(map(id, taken)) == sorted(map(id, entries))
