"""How much memory a stage takes: resident size, its peak stage by stage, and growth over many clips."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tdt.errors import OptionError
from tdt.timeline import NULL, SETUP_STAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tdt.timeline import Clock

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


def rss_bytes() -> int:
    """Return the resident size of this process; 0 where the system does not tell."""
    return _status("VmRSS")


def peak_rss_bytes() -> int:
    """Return the largest resident size since the process began or :func:`reset_peak` was called; 0 where unknown."""
    return _status("VmHWM")


def reset_peak() -> bool:
    """Start the peak anew from the present size (Linux: proc(5), clear_refs); False where that cannot be done."""
    try:
        _CLEAR_REFS.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def trim() -> None:
    """Collect garbage and hand freed memory back to the system, so that growth is growth and not slack."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _status(field_name: str) -> int:
    try:
        text = _STATUS.read_text(encoding="ascii")
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith(field_name + ":"):
            return int(line.split()[1]) * 1024
    return 0


@dataclass(frozen=True, slots=True)
class StageMemory:
    """What one stage did to the resident size; the fields are the JSON's."""

    name: str
    peak_rss_bytes: int
    grown_bytes: int


@dataclass(slots=True)
class MemoryRecorder:
    """A recorder that notes memory in place of time. One thread; a run of its own, since each span costs a millisecond.

    The peak of a span that holds others is the largest of its own and theirs.

    Parameters
    ----------
    stages : dict
        Name → largest peak and summed growth, in bytes, in the order first entered.
    """

    stages: dict[str, tuple[int, int]] = field(default_factory=dict)
    _peaks: list[int] = field(default_factory=list)
    _names: list[str] = field(default_factory=list)
    _thread: int = field(default_factory=threading.get_ident)

    def span(self, name: str, *, clock: Clock = "host") -> AbstractContextManager[None]:
        """Note the peak while a block runs and how much larger the process is after it."""
        return self._span(name) if threading.get_ident() == self._thread else NULL.span(name, clock=clock)

    def tally(self, name: str, total_ns: int, count: int = 1, *, clock: Clock = "host") -> None:
        """Do nothing: events of the decoding loop hold no memory of their own."""

    @contextlib.contextmanager
    def _span(self, name: str) -> Iterator[None]:
        before = rss_bytes()
        if self._peaks:
            self._peaks[-1] = max(self._peaks[-1], peak_rss_bytes())
        self._peaks.append(before)
        inside_setup = bool(self._names) and self._names[0] in SETUP_STAGES and name not in SETUP_STAGES
        self._names.append(name)
        reset_peak()
        try:
            yield
        finally:
            self._names.pop()
            peak = max(self._peaks.pop(), peak_rss_bytes())
            if self._peaks:
                self._peaks[-1] = max(self._peaks[-1], peak)
            label = f"{self._names[0]}/{name}" if inside_setup else name
            old_peak, grown = self.stages.get(label, (0, 0))
            self.stages[label] = (max(old_peak, peak), grown + rss_bytes() - before)
            reset_peak()

    def rows(self) -> list[StageMemory]:
        """Return one row a stage, set-up first."""
        ordered = sorted(self.stages.items(), key=lambda item: item[0].split("/", 1)[0] not in SETUP_STAGES)
        return [StageMemory(name, peak, grown) for name, (peak, grown) in ordered]


@dataclass(frozen=True, slots=True)
class Soak:
    """Resident size over many clips; the fields are the JSON's.

    Parameters
    ----------
    clips : int
    rss_bytes : tuple of int
        After each tenth of the run.
    growth_bytes : int
        From the end of the first tenth (caches and arenas are filled then) to the end.
    bytes_per_clip : float
        Slope of a straight line through the sizes of the second half: arenas have met the longest clip by then.
    """

    clips: int
    rss_bytes: tuple[int, ...]
    growth_bytes: int
    bytes_per_clip: float


def soak(
    transcribe: Callable[[int], object],
    clips: int = 1000,
    *,
    read_rss: Callable[[], int] = rss_bytes,
    settle: Callable[[], None] = trim,
    progress: Callable[[int], None] | None = None,
) -> Soak:
    """Run `transcribe(0)`, `transcribe(1)`, … and return how the process grew.

    Raises
    ------
    OptionError
        Fewer than 20 clips: nothing could be told from them.
    """
    if clips < 20:
        raise OptionError("clips", clips, "at least 20 clips for a soak")
    marks = [round(clips * tenth / 10) for tenth in range(1, 11)]
    sizes = []
    for number in range(1, clips + 1):
        transcribe(number - 1)
        if number in marks:
            settle()
            sizes.append(read_rss())
            if progress is not None:
                progress(number)
    return Soak(clips, tuple(sizes), sizes[-1] - sizes[0], _slope(marks[5:], sizes[5:]))


def _slope(xs: list[int], ys: list[int]) -> float:
    """Return the least-squares slope."""
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    above = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    return above / sum((x - mean_x) ** 2 for x in xs)
