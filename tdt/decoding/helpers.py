"""Threads that help others decode: what they run on, when they are asked, and that nobody waits for them."""

from __future__ import annotations

import ctypes
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.c_library import c_function
from tdt.decoding.cores import idle_cores, teams_for
from tdt.decoding.help_policy import HelpPolicy, Timed
from tdt.decoding.placement import Placement
from tdt.errors import ClosedError
from tdt.lifetime import Bound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tdt.kernels.decoder.tables import Weights

# Steps that read fewer bytes of weights gain nothing from a second core: waiting for each other has its price.
_SHARED_BYTES = 2 << 20
_CLOCK_SECONDS = 0.002


@dataclass(frozen=True, slots=True)
class Lent:
    """What a run works on: the first thread's task, buffers, the shared job, a row of counters each, what must stay."""

    task: Any
    work: Any
    shared: Any
    counters: Any
    kept: Any

    def count(self) -> Any:
        """Return the counters of all threads."""
        return self.counters.sum(axis=0)


class Helpers(Bound):
    """The threads of an engine.

    Parameters
    ----------
    weights : Weights
    threads : int
        Most threads that may work at a time, the caller's included.
    step_bytes : int
        Bytes of weights that a step reads.
    """

    def __init__(self, weights: Weights, threads: int, step_bytes: int) -> None:
        from tdt.kernels.decoder import buffers, claims, helping, tables, task, team

        self._weights, self.threads = weights, threads
        self._buffers, self._claims, self._fields, self._left = buffers, claims, task, helping.LEFT
        self._aligned = tables.aligned
        self._most = team.MAX_WORKERS
        self._shares = threads > 1 and step_bytes >= _SHARED_BYTES
        self._policy = HelpPolicy()
        self._placement, self._under_way = Placement(), 0
        self._spare: list[Any] = []
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._system: tuple[int, int, int] | None = None
        self.closed = False

    def teams(self, batch: int) -> tuple[int, int]:
        """Return into how many parts to cut a batch, and how many threads are to assist each."""
        if not self._shares:
            return max(1, min(self.threads, batch)), 0
        helped = self._policy.wanted(time.monotonic())
        idle = idle_cores() if self.threads > self._most else 0  # one team takes all threads in any case
        return teams_for(batch, self.threads, idle, self._most, helped=helped)

    def job(self, rows: int, helpers: int, run: Any, clock: int) -> Any:
        """Return the job that a team shares, for runs of so many rows; `run` with `clock` tells the time in ticks."""
        claims = self._claims
        shared = self._aligned((claims.job_places(self._buffers.most_chunks(self._weights, rows)),), np.int64)
        if helpers > 0:
            with self._lock:
                self._system = self._system or (*_system_calls(), _ticks_ms(run, clock))
            shared[claims.YIELD], shared[claims.SLEEP], shared[claims.TICKS_MS] = self._system
            shared[claims.SLEEPS] = self._policy.sleeps()
            shared[claims.TIMED] = self._policy.products_to_time(time.monotonic())
        return shared

    @contextmanager
    def beside(self, run: Any, lent: Lent, point: Callable[[Any, int], None] | None = None) -> Iterator[None]:
        """Have others help with a run until the block ends; none is waited for.

        `point` points a helper's task to what more it has for itself, given its number.
        """
        count = int(lent.task[self._fields.HELPERS])
        if count == 0:
            yield
            return
        futures: list[Future[Any] | None] = []
        self._begin()
        try:
            futures.extend(self._send(run, lent, number, point) for number in range(1, count + 1))
            yield
        finally:
            self._end()
            lent.shared[self._claims.STOP] = 1
            for future in futures:
                if future is not None:
                    future.cancel()
        self._learn(lent.shared)

    def _begin(self) -> None:
        with self._lock:
            self._under_way += 1
            alone = self._under_way == 1
        self._placement.keep_off(alone=alone)

    def _end(self) -> None:
        with self._lock:
            self._under_way -= 1

    def _send(self, run: Any, lent: Lent, number: int, point: Any) -> Future[Any] | None:
        """Send a helper; it keeps what it may read for as long as it takes, and gives its own back at its end."""
        own = self._take(len(lent.work.rows))
        task = lent.task.copy()
        self._fields.set_helper(task, own, lent.counters[number])
        if point is not None:
            point(task, number)
        future = self.submit(self._help, run, task, number, lent)
        if future is None:
            self._give_back(own)
        else:
            future.add_done_callback(lambda _: self._give_back(own))
        return future

    def _help(self, run: Any, task: Any, number: int, _lent: Lent) -> None:
        if run(task, number) == self._left:
            self._policy.left(time.monotonic())

    def _learn(self, shared: Any) -> None:
        """Hand what the run has measured to the policy."""
        claims, now = self._claims, time.monotonic()
        alone = Timed(*map(int, shared[claims.ALONE_JOBS : claims.ALONE_UNITS + 1]))
        helped = Timed(*map(int, shared[claims.HELPED_JOBS : claims.HELPED_UNITS + 1]))
        self._policy.went_well(now)
        self._policy.compared(now, alone, helped)

    def _take(self, rows: int) -> Any:
        with self._lock:
            for place, own in enumerate(self._spare):
                if len(own.chunk_best) >= rows:
                    return self._spare.pop(place)
        return self._buffers.aside(self._weights, rows, self._claims.OWN_PLACES)

    def _give_back(self, own: Any) -> None:
        with self._lock:
            self._spare = sorted([*self._spare, own], key=lambda each: -len(each.chunk_best))[: self.threads]

    def submit(self, call: Any, *values: Any) -> Future[Any] | None:
        """Have another thread make a call; None where the interpreter ends and no thread takes it."""
        with self._lock:
            if self.closed:
                raise ClosedError
            if self._pool is None:
                self._pool = ThreadPoolExecutor(max(1, self.threads - 1), "tdt-decoder", self._placement.joined)
            try:
                return self._pool.submit(call, *values)
            except RuntimeError:
                return None

    def close(self) -> None:
        """Let the threads go."""
        self.closed = True
        with self._lock:
            pool, self._pool = self._pool, None
            self._spare.clear()
        if pool is not None:
            pool.shutdown()


def _ticks_ms(run: Any, clock: int) -> int:
    """Return how many ticks of compiled code's clock a thousandth of a second has."""
    empty = np.zeros(0, np.int64)
    begun, started = run(empty, clock), time.perf_counter_ns()
    time.sleep(_CLOCK_SECONDS)
    ticks, elapsed_ns = run(empty, clock) - begun, time.perf_counter_ns() - started
    return max(1, int(ticks * 1_000_000 // elapsed_ns))


def _system_calls() -> tuple[int, int]:
    """Return the addresses of `sched_yield` and `usleep`; 0 where there is none."""
    calls = c_function("sched_yield"), c_function("usleep")
    if None in calls:
        return 0, 0
    return tuple(ctypes.cast(call, ctypes.c_void_p).value or 0 for call in calls)  # type: ignore[return-value]
