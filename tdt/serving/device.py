"""The one worker of a device: what runs on it runs one after another, live speech before all else."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tdt.errors import ServerClosedError
from tdt.lifetime import Bound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


class Source(Protocol):
    """What the worker turns to where no job waits; called with the device's lock held."""

    def wait_seconds(self, now: float, *, idle: bool) -> float | None:
        """Return how long to wait before :meth:`take`; None where there is nothing to be taken."""
        ...

    def take(self) -> Callable[[], object]:
        """Return work, which must not raise."""
        ...


class Device(Bound):
    """A thread that runs jobs, and batches of a source between them.

    Parameters
    ----------
    source : Source
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.turn = threading.Condition()
        self._live: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._jobs: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="tdt-serving-device", daemon=True)
        self._thread.start()

    def run(self, job: Callable[[], T], *, live: bool = False) -> Awaitable[T]:
        """Run a job; for coroutines.

        Parameters
        ----------
        job : callable
        live : bool
            Before all others that wait: it waits for one run at most, and for other live ones.

        Returns
        -------
        awaitable
            Of what it returns; cancelled before its turn, it does not run.

        Raises
        ------
        ServerClosedError
            The device has been closed.
        """
        return asyncio.wrap_future(self.submit(job, live=live))

    def submit(self, job: Callable[[], T], *, live: bool = False) -> Future[T]:
        """Run a job; for threads. As :meth:`run`."""
        future: Future[T] = Future()
        with self.turn:
            if self._stopped:
                raise ServerClosedError
            (self._live if live else self._jobs).append((job, future))
            self.turn.notify_all()
        return future

    def is_alive(self) -> bool:
        """Say whether the worker works."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Let the run that is under way end, begin no other, and wait for that."""
        with self.turn:
            self._stopped = True
            left = [*self._live, *self._jobs]
            self._live.clear()
            self._jobs.clear()
            self.turn.notify_all()
        for _, future in left:
            future.cancel()
        self._thread.join()

    def _work(self) -> None:
        while (work := self._next()) is not None:
            work()

    def _next(self) -> Callable[[], object] | None:
        """Wait for work and return it; None when the device is closed."""
        idle = False
        with self.turn:
            while not self._stopped:
                line = self._live or self._jobs
                if line:
                    job, future = line.popleft()
                    return lambda: _done(job, future)
                seconds = self._source.wait_seconds(time.monotonic(), idle=idle)
                if seconds is not None and seconds <= 0:
                    return self._source.take()
                idle = idle or seconds is None
                self.turn.wait(seconds)
        return None


def _done(job: Callable[[], Any], future: Future[Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = job()
    except BaseException as error:  # noqa: BLE001  raised where the result is awaited
        future.set_exception(error)
    else:
        future.set_result(result)
