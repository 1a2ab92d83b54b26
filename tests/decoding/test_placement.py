"""Helpers run elsewhere than the thread that they help, and where others have said that they may."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from tdt.decoding import placement
from tdt.decoding.placement import Placement

if TYPE_CHECKING:
    from collections.abc import Iterable


class Linux:
    """Processors that threads may run on, by native id; 0 is the calling thread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, threads: dict[int, set[int]]) -> None:
        self.allowed, self.here, self.calls = threads, 0, 0
        self.gone: set[int] = set()
        monkeypatch.setattr(os, "sched_getaffinity", self.get, raising=False)
        monkeypatch.setattr(os, "sched_setaffinity", self.set, raising=False)
        monkeypatch.setattr(placement, "_current_processor", lambda: lambda: self.here)
        monkeypatch.setattr(threading, "get_native_id", lambda: self.me)
        self.me = 0

    def get(self, thread: int) -> set[int]:
        return set(self.allowed[thread or self.me])

    def set(self, thread: int, processors: Iterable[int]) -> None:
        self.calls += 1
        if thread in self.gone:
            raise ProcessLookupError
        assert set(processors), "the system refuses none"
        self.allowed[thread] = set(processors)

    def pool(self, *threads: int) -> Placement:
        made = Placement()
        for self.me in threads:
            made.joined()
        self.me = 0
        return made


def test_helpers_are_sent_elsewhere_once_for_each_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    system = Linux(monkeypatch, {0: {0, 1, 2}, 7: {0, 1, 2}, 8: {0, 1, 2}})
    pool = system.pool(7, 8)
    for _ in range(5):
        pool.keep_off(alone=True)
    assert system.allowed == {0: {0, 1, 2}, 7: {1, 2}, 8: {1, 2}}
    assert system.calls == 2, "what stands is not said again"
    system.here = 2
    pool.keep_off(alone=True)
    assert system.allowed[7] == system.allowed[8] == {0, 1}


def test_beside_another_call_they_run_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    system = Linux(monkeypatch, {0: {0, 1}, 7: {0, 1}})
    pool = system.pool(7)
    pool.keep_off(alone=True)
    pool.keep_off(alone=False)
    assert system.allowed[7] == {0, 1}


def test_a_thread_of_the_pool_sends_nobody_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be caught: the leader of a part that sends itself off the processor that it runs on."""
    system = Linux(monkeypatch, {0: {0, 1}, 7: {0, 1}, 8: {0, 1}})
    pool = system.pool(7, 8)
    system.me = 7
    pool.keep_off(alone=True)
    assert (system.allowed[7], system.allowed[8]) == ({0, 1}, {0, 1})


def test_a_caller_that_is_pinned_leaves_them_where_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be caught: helpers on the one processor of a caller that torch or OpenMP has pinned."""
    system = Linux(monkeypatch, {0: {0}, 7: {0, 1}, 8: {0}})
    pool = system.pool(7, 8)
    pool.keep_off(alone=True)
    assert system.allowed == {0: {0}, 7: {1}, 8: {0}}


def test_what_others_say_of_them_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as `taskset -ap` on a running process."""
    system = Linux(monkeypatch, {0: {0, 1, 2, 3}, 7: {0, 1, 2, 3}})
    pool = system.pool(7)
    pool.keep_off(alone=True)
    system.allowed[7] = {0, 1}
    system.here = 1
    pool.keep_off(alone=True)
    assert system.allowed[7] == {0}
    pool.keep_off(alone=False)
    assert system.allowed[7] == {0, 1}


def test_a_thread_that_joins_later_is_sent_too(monkeypatch: pytest.MonkeyPatch) -> None:
    system = Linux(monkeypatch, {0: {0, 1}, 7: {0, 1}, 8: {0, 1}})
    pool = system.pool(7)
    pool.keep_off(alone=True)
    system.me = 8
    pool.joined()
    system.me = 0
    pool.keep_off(alone=True)
    assert system.allowed[8] == {1}


def test_where_the_system_refuses_nothing_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    system = Linux(monkeypatch, {0: {0, 1}, 7: {0, 1}})
    pool = system.pool(7)
    system.gone.add(7)
    for system.here in (0, 1, 0, 1):
        pool.keep_off(alone=True)
    assert system.calls == 1


def test_without_such_calls_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    pool = Placement()
    pool.joined()
    pool.keep_off(alone=True)
    assert pool._threads == []


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="threads are sent nowhere on this system")
def test_the_real_system_is_told() -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one processor")
    told, leave, pool = threading.Event(), threading.Event(), Placement()

    def work() -> None:
        pool.joined()
        told.set()
        leave.wait(60)

    thread = threading.Thread(target=work)
    thread.start()
    assert told.wait(60)
    assert thread.native_id is not None
    everywhere = os.sched_getaffinity(thread.native_id)
    try:
        pool.keep_off(alone=True)
        found = os.sched_getaffinity(thread.native_id)
        assert len(found) == len(everywhere) - 1
        assert found < everywhere
        pool.keep_off(alone=False)
        assert os.sched_getaffinity(thread.native_id) == everywhere
    finally:
        leave.set()
        thread.join()
