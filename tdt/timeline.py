"""Where the time goes: spans and tallies that the stages record, and a null object that costs nothing.

A stage that runs once a call opens a span; the decoding loop, whose events are too many to time one by one, hands over
tallies. Spans nest: a stage is charged with its own time only, never with what a stage inside it took.
"""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from tdt.checks import instance, number, one_of, whole_number
from tdt.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


# host: read by the host around work that the host did itself. host+sync: the same around device work, after waiting
# for it. cuda-event: measured by the device. A host clock around work that is only enqueued would be none of these.
Clock = Literal["host", "host+sync", "cuda-event"]
CLOCKS: tuple[str, ...] = get_args(Clock)
_MOST_NS = 1 << 62

# The span around one whole call of the recogniser. What no stage inside it accounts for is the `unaccounted` row.
CALL = "call"

SETUP_STAGES = ("load", "compile", "warmup")
# Speech without a token, decoded again: the detector, features, encoder and decoder of that are in its own row alone.
SECOND_LOOK = "second look"
STAGES = ("read", "resample", "features", "h2d", "encoder", "d2h", "predictor", "joint", "rule", SECOND_LOOK, "text")

_NOTHING: AbstractContextManager[None] = nullcontext()


class Recorder(Protocol):
    """What a stage needs of a timeline."""

    def span(self, name: str, *, clock: Clock = "host") -> AbstractContextManager[None]:
        """Time a block under `name`."""
        ...

    def tally(self, name: str, total_ns: int, count: int = 1, *, clock: Clock = "host") -> None:
        """Add `count` events that took `total_ns` together, inside the span that is open."""
        ...


class _Null:
    """Records nothing."""

    __slots__ = ()

    def __reduce__(self) -> str:
        return "NULL"  # the one there is, in any process

    def span(self, name: str, *, clock: Clock = "host") -> AbstractContextManager[None]:  # noqa: ARG002
        """Return a shared context manager that does nothing."""
        return _NOTHING

    def tally(self, name: str, total_ns: int, count: int = 1, *, clock: Clock = "host") -> None:
        """Do nothing."""


NULL: Recorder = _Null()


def as_recorder(name: str, value: Any) -> Recorder:
    """Return something that records: a Timeline, or anything with its methods.

    Raises
    ------
    OptionError
        It has not got them.
    """
    if isinstance(value, type) or not all(callable(getattr(value, method, None)) for method in ("span", "tally")):
        raise OptionError(name, value, "a Timeline, or anything with its methods span and tally")
    recorder: Recorder = value
    return recorder


def call_of(recorder: Recorder) -> AbstractContextManager[None]:
    """Return the span of a call, so that its wall time is known; nothing within another span of this thread."""
    if isinstance(recorder, Timeline) and recorder.open_spans():
        return _NOTHING
    return recorder.span(CALL)


@dataclass(frozen=True, slots=True)
class Span:
    """One timed block.

    Parameters
    ----------
    name : str
        Stage, or :data:`CALL`.
    path : str
        Names of the spans around it and its own, joined by slashes.
    start_ns, duration_ns : int
        By the timeline's clock.
    self_ns : int
        Duration without what spans and tallies inside took.
    setup_ns : int
        Part of the duration that is set-up work (load, compile, warmup).
    clock : str
        How it was measured.
    thread : int
        Identifier of the thread that ran it.
    """

    name: str
    path: str
    start_ns: int
    duration_ns: int
    self_ns: int
    setup_ns: int
    clock: Clock
    thread: int


@dataclass(frozen=True, slots=True)
class Tally:
    """Events counted and timed together; path and start are those of the span around them, where there is one."""

    name: str
    path: str
    span_start_ns: int
    end_ns: int
    total_ns: int
    count: int
    clock: Clock
    thread: int


class _OpenSpan:
    """A span that runs; appended to its timeline when it ends, by an error too."""

    __slots__ = ("_clock", "_timeline", "inner_ns", "name", "path", "setup_ns", "start_ns")

    def __init__(self, timeline: Timeline, name: str, clock: Clock) -> None:
        self._timeline = timeline
        self._clock: Clock = clock
        self.name = name
        self.path = name
        self.inner_ns = 0
        self.setup_ns = 0

    def __enter__(self) -> None:
        stack = self._timeline.open_spans()
        if stack:
            self.path = f"{stack[-1].path}/{self.name}"
        stack.append(self)
        self.start_ns = self._timeline.now_ns()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        duration = self._timeline.now_ns() - self.start_ns
        stack = self._timeline.open_spans()
        stack.pop()
        setup = duration if self.name in SETUP_STAGES else self.setup_ns
        if stack:
            stack[-1].inner_ns += duration
            stack[-1].setup_ns += setup
        own = duration - self.inner_ns
        self._timeline.spans.append(
            Span(self.name, self.path, self.start_ns, duration, own, setup, self._clock, threading.get_ident())
        )


class Timeline:
    """Records spans and tallies of any number of calls and threads; a :class:`Recorder`.

    A copy, also one in another process, holds what had ended when it was made: open spans stay with the original, whose
    threads they belong to.

    Parameters
    ----------
    now_ns : callable, optional
        Monotonic clock, in nanoseconds.

    Attributes
    ----------
    spans : list of Span
        In the order in which they ended.
    tallies : list of Tally
    audio_seconds : float
        Audio passed through, for figures per second of audio.
    """

    def __init__(self, now_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        if not callable(now_ns):
            raise OptionError("now_ns", now_ns, "a function that returns nanoseconds")
        self.now_ns = now_ns
        self.spans: list[Span] = []
        self.tallies: list[Tally] = []
        self.audio_seconds = 0.0
        self._lock = threading.Lock()
        self._local = threading.local()

    def __reduce__(self) -> tuple[object, ...]:
        # No clock goes with it: a monotonic one means nothing in another process.
        return _recorded, (list(self.spans), list(self.tallies), self.audio_seconds)

    def span(self, name: str, *, clock: Clock = "host") -> AbstractContextManager[None]:
        """Time a block under `name`."""
        one_of("clock", clock, CLOCKS)
        return _OpenSpan(self, instance("name", name, str), clock)

    def tally(self, name: str, total_ns: int, count: int = 1, *, clock: Clock = "host") -> None:
        """Add `count` events that took `total_ns` together, inside the span that this thread has open."""
        one_of("clock", clock, CLOCKS)
        name, count = instance("name", name, str), whole_number("count", count, 0, _MOST_NS)
        total_ns = whole_number("total_ns", total_ns, 0, _MOST_NS)
        stack = self.open_spans()
        if stack:
            stack[-1].inner_ns += total_ns
        now_ns = self.now_ns()
        path, start_ns = (stack[-1].path, stack[-1].start_ns) if stack else ("", now_ns - total_ns)
        self.tallies.append(Tally(name, path, start_ns, now_ns, total_ns, count, clock, threading.get_ident()))

    def add_audio(self, seconds: float) -> None:
        """Count audio that has passed through."""
        seconds = number("seconds", seconds, 0, 1e12)
        with self._lock:
            self.audio_seconds += seconds

    def open_spans(self) -> list[_OpenSpan]:
        """Return this thread's spans that have not ended, outermost first."""
        try:
            stack: list[_OpenSpan] = self._local.stack
        except AttributeError:
            stack = self._local.stack = []
        return stack


def _recorded(spans: list[Span], tallies: list[Tally], audio_seconds: float) -> Timeline:
    """Return a timeline with what another one had recorded."""
    timeline = Timeline()
    timeline.spans, timeline.tallies, timeline.audio_seconds = spans, tallies, audio_seconds
    return timeline
