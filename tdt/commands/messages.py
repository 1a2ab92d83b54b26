"""What the commands say on standard error: warnings, errors and a progress bar where someone is watching."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

_log = logging.getLogger("tdt")


class Messages:
    """Messages of one command; while it is entered, warnings of the library's logger are shown, too.

    Parameters
    ----------
    command : str
        What messages begin with.
    quiet : bool
        Only errors.
    """

    def __init__(self, command: str, *, quiet: bool = False) -> None:
        self._command = command
        self._quiet = quiet
        self._handler = logging.StreamHandler(sys.stderr)
        self._handler.setFormatter(logging.Formatter(f"{command}: %(message)s"))
        self._handler.setLevel(logging.ERROR if quiet else logging.WARNING)

    def __enter__(self) -> Self:
        _log.addHandler(self._handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _log.removeHandler(self._handler)

    def warn(self, text: str) -> None:
        """Say something that the quiet do not want to hear."""
        if not self._quiet:
            self.error(text)

    def error(self, text: str) -> None:
        """Say why something failed."""
        sys.stderr.write(f"{self._command}: {text}\n")
        sys.stderr.flush()

    @contextmanager
    def progress(self, total: int, *, hidden: bool = False) -> Iterator[Callable[[], None]]:
        """Show a bar while the block runs, on a terminal only.

        Parameters
        ----------
        total : int
            Number of steps.
        hidden : bool
            Show none all the same: results that appear on the same terminal tell as much.

        Yields
        ------
        callable
            To be called after each step.
        """
        if self._quiet or hidden or not sys.stderr.isatty():
            yield lambda: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        # Only standard error may be redirected around the bar: standard output carries the results.
        with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as bar:
            task = bar.add_task("transcribing", total=total)
            yield lambda: bar.advance(task)
