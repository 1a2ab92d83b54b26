"""One stage working ahead of the next in a thread of its own, by a bounded distance."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from tdt.timeline import Recorder

T = TypeVar("T")


def work_ahead(items: Iterable[T], depth: int) -> Generator[T, None, None]:
    """Yield the items of an iterable that is run in a thread, at most `depth` items ahead.

    An exception of the iterable is raised here after the items before it. When the consumer stops early, the thread
    ends at its next item, and closes the iterable.

    Parameters
    ----------
    items : iterable
        Touched by the thread alone.
    depth : int
    """
    line: deque[T] = deque()
    turn = threading.Condition()
    stopped = finished = False
    failure: list[BaseException] = []

    def work() -> None:
        nonlocal finished
        try:
            for item in items:
                with turn:
                    turn.wait_for(lambda: stopped or len(line) < depth)
                    if stopped:
                        return
                    line.append(item)
                    turn.notify_all()
        except BaseException as error:  # noqa: BLE001  carried over to the consumer's thread, which raises it
            failure.append(error)
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()
            with turn:
                finished = True
                turn.notify_all()

    thread = threading.Thread(target=work, name="tdt-ahead", daemon=True)
    thread.start()
    try:
        while True:
            with turn:
                turn.wait_for(lambda: line or finished)
                if not line:
                    break
                item = line.popleft()
                turn.notify_all()
            yield item
        if failure:
            raise failure[0]
    finally:
        with turn:
            stopped = True
            turn.notify_all()
        thread.join()


def in_turn(items: Iterable[T], timeline: Recorder) -> Generator[T, None, None]:
    """Yield the items without working ahead, the time to make each recorded as reading."""
    waiting = iter(items)
    while True:
        with timeline.span("read"):
            try:
                item = next(waiting)
            except StopIteration:
                return
        yield item
