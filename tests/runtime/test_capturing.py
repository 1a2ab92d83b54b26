"""The quiet that a capture needs: many at work, or one that captures."""

from __future__ import annotations

import threading
import time

import pytest

from tdt.runtime.capturing import Quiet, run_options


def test_a_capture_waits_for_those_at_work_and_they_for_it() -> None:
    quiet, events = Quiet(), []
    inside, leave = threading.Event(), threading.Event()

    def at_work() -> None:
        with quiet.work():
            inside.set()
            leave.wait(10)
            events.append("worked")

    def capture() -> None:
        inside.wait(10)
        with quiet.capture():
            events.append("captured")
            with quiet.work():  # its own
                events.append("ran")

    threads = [threading.Thread(target=target) for target in (at_work, capture)]
    for thread in threads:
        thread.start()
    inside.wait(10)
    time.sleep(0.05)
    assert events == []
    leave.set()
    for thread in threads:
        thread.join(10)
    assert events == ["worked", "captured", "ran"]


def test_many_work_at_once() -> None:
    quiet, together = Quiet(), threading.Barrier(4, timeout=10)

    def at_work() -> None:
        with quiet.work():
            together.wait()

    threads = [threading.Thread(target=at_work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not together.broken


def test_after_an_error_others_may_work() -> None:
    quiet = Quiet()
    for enter in (quiet.work, quiet.capture):
        with pytest.raises(ZeroDivisionError), enter():
            1 / 0  # noqa: B018
    with quiet.capture(), quiet.work():
        pass


def test_options_are_none_where_the_defaults_do() -> None:
    assert run_options(wait=True, graph=None) is None
    assert run_options(wait=False, graph=None) is run_options(wait=False, graph=None)
    assert run_options(wait=True, graph=3).get_run_config_entry("gpu_graph_id") == "3"
