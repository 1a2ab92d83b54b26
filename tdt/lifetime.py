"""When what several threads share may be released."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tdt.errors import ClosedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Lifetime:
    """Counts the calls that are under way; releases once, when closed and the last call is done.

    Parameters
    ----------
    release : callable
        What to do then.
    """

    def __init__(self, release: Callable[[], None]) -> None:
        self._release = release
        self._lock = threading.Lock()
        self._calls = 0
        self._closed = False

    @contextmanager
    def use(self) -> Iterator[None]:
        """Keep things open while the block runs.

        Raises
        ------
        ClosedError
            Where :meth:`close` came before.
        """
        with self._lock:
            if self._closed:
                raise ClosedError
            self._calls += 1
        try:
            yield
        finally:
            with self._lock:
                self._calls -= 1
                release = self._over()
            if release:
                self._release()

    def close(self) -> None:
        """Let no call begin any more, and release as soon as none runs; a second time does nothing."""
        with self._lock:
            first, self._closed = not self._closed, True
            release = first and self._over()
        if release:
            self._release()

    def _over(self) -> bool:
        return self._closed and self._calls == 0
