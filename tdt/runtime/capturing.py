"""Runs captured as CUDA graphs: how a run asks for it, and the quiet that a capture needs.

While a run is captured, CUDA refuses memory to every thread of the process (a capture in "global" mode, the only one
that ONNX Runtime has). What this package runs and allocates on cards is therefore held back meanwhile; what other
libraries do is not known here.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

from tdt.lifetime import Bound, after_fork
from tdt.runtime.ort import onnxruntime

if TYPE_CHECKING:
    from collections.abc import Iterator

UNCAPTURED = -1  # as ONNX Runtime has it


class Quiet(Bound):
    """Lets many work on cards at once, or one alone that captures."""

    def __init__(self) -> None:
        self._renew()
        after_fork(self._renew)

    def _renew(self) -> None:
        self._lock = threading.RLock()  # again by the same thread: the collector may give memory back in between
        self._changed = threading.Condition(self._lock)
        self._working, self._alone = 0, 0  # threads at work; the one that captures, by its identity

    def work(self) -> Self:
        """Return a context to work on a card in, after a capture that goes on; inside one's own capture too."""
        return self  # no generator: each call of the driver goes through here

    def __enter__(self) -> None:
        if self._alone != threading.get_ident():
            with self._lock:
                while self._alone:
                    self._changed.wait()
                self._working += 1

    def __exit__(self, *_: object) -> None:
        if self._alone != threading.get_ident():
            with self._lock:
                self._working -= 1
                if not self._working:
                    self._changed.notify_all()

    @contextmanager
    def capture(self) -> Iterator[None]:
        """Capture, when nobody is at work."""
        with self._lock:
            while self._alone or self._working:
                self._changed.wait()
            self._alone = threading.get_ident()
        try:
            yield
        finally:
            with self._lock:
                self._alone = 0
                self._changed.notify_all()


quiet = Quiet()


@lru_cache(maxsize=1024)
def run_options(*, wait: bool, graph: int | None) -> Any:
    """Return the options of a run, None where the defaults do.

    Parameters
    ----------
    wait : bool
        Whether the run ends when the device has done its work.
    graph : int or None
        Of a session that captures: the number of the run's graph, made when it runs first and launched from then on, or
        :data:`UNCAPTURED`. None for other sessions.
    """
    if wait and graph is None:
        return None
    options = onnxruntime().RunOptions()
    if not wait:
        options.add_run_config_entry("disable_synchronize_execution_providers", "1")
    if graph is not None:
        options.add_run_config_entry("gpu_graph_id", str(graph))
    return options
