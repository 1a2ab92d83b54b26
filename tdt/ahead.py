"""One stage working ahead of the next in a thread of its own, by a bounded distance."""

from __future__ import annotations

import atexit
import threading
import weakref
from collections import deque
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from tdt.ending import at_work, wait_for
from tdt.lifetime import Bound, Origin, is_setting_up

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from tdt.timeline import Recorder

T = TypeVar("T")

_EXIT_SECONDS = 1.0  # for threads that wait for a source at exit, such as a microphone


def in_stages(items: Iterable[Any], *functions: Callable[[Any], Any]) -> Generator[Any, None, None]:
    """Yield what functions make of items, one function after the other, while the next items are under way.

    The items, and each function, run in a thread of their own, one item ahead of what follows: while the consumer has
    item n, the last function is at n + 1, the one before it at n + 2. Order stays. An exception, of whatever kind, is
    raised here after the items before it. When the consumer stops early, each thread ends at its next item, and is
    waited for.

    Parameters
    ----------
    items : iterable
        Touched by its thread alone.
    *functions : callable
        Of one argument: what comes from before.

    Raises
    ------
    ForkError
        In a process that was forked meanwhile: the threads are not there.
    """
    with ExitStack() as ended:
        line = ended.enter_context(closing(Ahead(items, 1)))
        for function in functions:
            line = ended.enter_context(closing(Ahead(map(function, line), 1)))
        yield from line


class Ahead(Bound, Generic[T]):
    """Items on their way from the thread that makes them to whoever takes them, and closes this.

    Parameters
    ----------
    items : iterable
        Touched by the thread alone, and closed by it.
    depth : int
        How many items wait at most.
    """

    def __init__(self, items: Iterable[T], depth: int) -> None:
        self._items, self._depth = items, depth
        self._line: deque[T] = deque()
        self._turn = threading.Condition()
        self._stopped = self._finished = False
        self._failure: BaseException | None = None
        self.awaited = False  # by a thread other than the main one
        self._origin = Origin()
        self._thread = threading.Thread(target=self._work, name="tdt-ahead", daemon=True)
        _lines.add(self)
        self._thread.start()

    def _work(self) -> None:
        try:
            for item in self._items:
                with self._turn:
                    self._turn.wait_for(lambda: self._stopped or len(self._line) < self._depth)
                    if self._stopped:
                        return
                    self._line.append(item)
                    self._turn.notify_all()
        except BaseException as error:  # noqa: BLE001  carried over to the consumer's thread, which raises it
            self._failure = error
        finally:
            close = getattr(self._items, "close", None)
            if close is not None:
                close()
            with self._turn:
                self._finished = True
                self._turn.notify_all()

    def has_next(self) -> bool:
        """Wait for an item or the end; raise what ended it early."""
        self._origin.require()
        with self._turn:
            self.awaited = threading.current_thread() is not threading.main_thread()
            self._turn.wait_for(lambda: self._line or self._finished or self._stopped)
            if self._stopped:  # the interpreter ends: what came so far must not pass for the whole
                raise SystemExit
            self.awaited = False
            if self._line:
                return True
        if self._failure is not None:
            raise self._failure
        return False

    def comes_within(self, seconds: float) -> bool:
        """Say whether the next item or the end is there after so long at most."""
        with self._turn:
            return self._turn.wait_for(lambda: bool(self._line or self._finished or self._stopped), seconds)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        if not self.has_next():
            raise StopIteration
        return self.take()

    def take(self) -> T:
        """Return the next item."""
        with self._turn:
            item = self._line.popleft()
            self._turn.notify_all()
        return item

    def stop(self) -> None:
        """Have the thread end at its next item."""
        with self._turn:
            self._stopped = True
            self._turn.notify_all()

    def at_rest(self) -> bool:
        """Say whether no thread makes items, nor waits for one."""
        return not self._thread.is_alive() and not self.awaited

    def close(self) -> None:
        """End the thread and wait for that; where it may be gone already, touch nothing that it might have held."""
        if self._origin.is_here() and not at_work.over:
            self.stop()
            # A forgotten generator ends here wherever the collector runs: its thread may wait for what this one holds.
            if at_work.hurried is None and not is_setting_up():
                self._thread.join()
        elif self.awaited:
            self._thread.join(_EXIT_SECONDS)
            self.awaited = False


_lines: weakref.WeakSet[Ahead[Any]] = weakref.WeakSet()


def _end() -> None:
    """End all threads before the interpreter does: it would stop them anywhere."""
    lines = list(_lines)
    for line in lines:
        if line._origin.is_here():
            line.stop()
    at_work.finish()
    if at_work.hurried is None:
        wait_for(lambda: all(line.at_rest() for line in lines), _EXIT_SECONDS)


atexit.register(_end)


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
