"""Two things made side by side, each of which can be closed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable


class Closable(Protocol):
    """What is made."""

    def close(self) -> None:
        """Release it."""
        ...


First = TypeVar("First", bound=Closable)
Second = TypeVar("Second", bound=Closable)


def both(first: Callable[[], First], second: Callable[[], Second], *, together: bool) -> tuple[First, Second]:
    """Make two things; where one fails, the other is closed and the error raised.

    Parameters
    ----------
    first, second : callable
        Make them.
    together : bool
        Make the second in a thread of its own. An interrupt does not wait for it: it is closed there when it is made.
    """
    aside = _Aside(second, start=together)
    try:
        made = first()
    except BaseException as error:
        aside.abandon(wait=isinstance(error, Exception))
        raise
    try:
        return made, aside.result()
    except BaseException:
        aside.abandon(wait=False)
        made.close()
        raise


class _Aside(Generic[Second]):
    """Something made in a thread of its own, or when it is asked for."""

    def __init__(self, make: Callable[[], Second], *, start: bool) -> None:
        self._make = make
        self._made: Second | None = None
        self._failure: BaseException | None = None
        self._lock = threading.Lock()
        self._abandoned = False
        # Not an executor's: the interpreter would wait for it at exit, even where it was interrupted as it started.
        self._thread = threading.Thread(target=self._work, name="tdt-load", daemon=True)
        self._started = start
        if start:
            self._thread.start()

    def _work(self) -> None:
        try:
            made = self._make()
        except BaseException as error:  # noqa: BLE001  raised where the result is asked for
            self._failure = error
            return
        with self._lock:
            self._made = made
            abandoned = self._abandoned
        if abandoned:
            made.close()

    def result(self) -> Second:
        """Return it when it is made, or raise what prevented that."""
        if not self._started:
            return self._make()
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        assert self._made is not None
        return self._made

    def abandon(self, *, wait: bool) -> None:
        """Have it closed: here where it is made already, else by the thread."""
        if wait and self._started:
            self._thread.join()
        with self._lock:
            self._abandoned, made = True, self._made
        if made is not None:
            made.close()
