"""How far a corpus is: a bar on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    from tdt.corpus import Progress

LINE_SECONDS = 60.0


class Watch:
    """Shows how far a run is; called with its progress after each shard.

    Parameters
    ----------
    quiet : bool
        Show nothing.
    clock : callable, optional
    """

    def __init__(self, *, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._quiet, self._clock = quiet, clock
        self._told = clock()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            columns = (BarColumn(), TextColumn("{task.description}"))
            self._bar = Progress(*columns, console=Console(stderr=True), redirect_stdout=False)
            self._task = self._bar.add_task("loading", total=None)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        """Show it: at once on a terminal, else where a minute has gone by since the last line."""
        if self._bar is not None:
            self._bar.update(
                self._task, completed=progress.shards, total=progress.all_shards, description=line(progress)
            )
        elif not self._quiet and self._clock() - self._told >= LINE_SECONDS:
            self._told = self._clock()
            sys.stderr.write(f"tdt corpus: {line(progress)}\n")
            sys.stderr.flush()


def line(progress: Progress) -> str:
    """Return progress as a line: hours, speed, errors, what is left."""
    left = progress.left_seconds
    eta = "" if left is None else f", {span(left)} left"
    return (
        f"{progress.shards} of {progress.all_shards} shards, {progress.audio_seconds / 3600:.2f} h, "
        f"{progress.rtfx:.0f} x real time, {progress.failed} errors{eta}"
    )


def span(seconds: float) -> str:
    """Return a time that people read.

    Examples
    --------
    >>> span(42.4), span(3700), span(200_000)
    ('42 s', '1 h 02 min', '55 h 33 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(int(seconds // 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
