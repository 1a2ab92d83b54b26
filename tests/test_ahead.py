"""Stages in threads of their own: how far ahead they are, what ends them, and that order and errors stay."""

from __future__ import annotations

import itertools
import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tdt.ahead import Ahead, in_stages
from tdt.lifetime import setting_up

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_a_thread_ahead_keeps_its_distance_and_its_errors() -> None:
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number
            if number == 20:
                raise KeyError("twenty")

    ahead = Ahead(numbers(), 3)
    assert next(ahead) == 0
    for expected in range(1, 21):
        assert next(ahead) == expected
        assert len(made) <= expected + 1 + 3 + 1  # given, waiting, and one in the hand
    with pytest.raises(KeyError, match="twenty"):
        next(ahead)


def test_a_generator_that_the_collector_ends_amid_an_import_waits_for_nobody() -> None:
    """It may end in any thread, also in one that holds what the thread ahead is waiting for: they waited for ever."""
    lock = threading.Lock()
    waits = threading.Event()

    def numbers() -> Iterator[int]:
        yield 1
        waits.set()
        with lock:
            yield 2

    stages = in_stages(numbers(), partial(max, 0))
    assert next(stages) == 1
    done = threading.Event()

    def collector() -> None:
        with setting_up(), lock:
            waits.wait()
            stages.close()
        done.set()

    threading.Thread(target=collector, daemon=True).start()
    assert done.wait(60)


def test_stages_keep_their_distance_order_and_errors() -> None:
    done: dict[str, list[int]] = {"made": [], "first": [], "second": []}
    threads: dict[str, set[int]] = {name: set() for name in done}

    def note(name: str, number: int) -> int:
        done[name].append(number)
        threads[name].add(threading.get_ident())
        if name == "second" and number == 20:
            raise KeyError("twenty")
        return number

    numbers = (note("made", number) for number in range(100))
    line = in_stages(numbers, partial(note, "first"), partial(note, "second"))
    for expected in range(20):
        assert next(line) == expected
        # One given, and for each stage: one waiting, and one in the hand.
        assert len(done["second"]) <= expected + 1 + 2
        assert len(done["first"]) <= expected + 1 + 4
        assert len(done["made"]) <= expected + 1 + 6
    with pytest.raises(KeyError, match="twenty"):
        next(line)
    assert all(len(who) == 1 for who in threads.values())
    assert len(set().union(*threads.values()) | {threading.get_ident()}) == 4


def test_stages_end_with_their_consumer() -> None:
    closed: list[int] = []

    def numbers() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            closed.append(1)

    before = threading.active_count()
    line = in_stages(numbers(), abs, abs)
    assert next(line) == 0
    assert threading.active_count() == before + 3
    line.close()
    assert threading.active_count() == before
    assert closed == [1]
