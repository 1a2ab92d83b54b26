"""What is bound to a process and to the calls under way in it: when it may be released, and what a fork leaves of it.

A forked process has the memory of the one it came from, but one thread only. Whatever waits for another thread there
waits for ever, so everything with threads remembers the process that it was made in and refuses to work in another.
"""

from __future__ import annotations

import importlib
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from tdt.errors import ClosedError, ForkError, NotPicklableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


def after_fork(renew: Callable[[], object]) -> None:
    """Have a function called in every process that is forked from this one, for as long as this one lives."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=renew)


class Origin:
    """The process that something was made in."""

    __slots__ = ("process",)

    def __init__(self) -> None:
        self.process = os.getpid()

    def is_here(self) -> bool:
        """Say whether this is that process."""
        return os.getpid() == self.process

    def require(self) -> None:
        """Refuse to go on in another one.

        Raises
        ------
        ForkError
        """
        if os.getpid() != self.process:
            raise ForkError(self.process, os.getpid())


class Bound:
    """Base of what cannot go to another process, nor be copied: it holds threads, locks or sessions."""

    __slots__ = ()

    def __reduce__(self) -> tuple[object, ...]:
        raise NotPicklableError(type(self).__name__)


class Closing(Bound):
    """Base of what is closed, also by the end of a `with` block."""

    __slots__ = ()

    def close(self) -> None:
        """Release what it holds."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ProcessLock(Bound):
    """A lock for a module: a forked process finds it open, whoever held it where it came from."""

    def __init__(self) -> None:
        self._renew()
        after_fork(self._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class PerProcess(Bound, Generic[T]):
    """Something that a module shares: made when first asked for, once in every process.

    Parameters
    ----------
    make : callable
        Makes it.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._renew()
        after_fork(self._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()
        self._made: T | None = None

    def __call__(self) -> T:
        """Return it."""
        with self._lock:
            if self._made is None:
                with setting_up():
                    self._made = self._make()
            return self._made


class Lifetime(Bound):
    """Counts the calls that are under way; releases once, when closed and the last call is done.

    In a forked process no call begins, and nothing is released: it is the other process's.

    Parameters
    ----------
    release : callable
        What to do then.
    """

    def __init__(self, release: Callable[[], None]) -> None:
        self._release = release
        self._lock = threading.RLock()  # again by the same thread: the collector may end a forgotten call in between
        self._origin = Origin()
        self._calls = 0
        self._closed = self._released = False

    @contextmanager
    def use(self) -> Iterator[None]:
        """Keep things open while the block runs.

        Raises
        ------
        ClosedError
            Where :meth:`close` came before.
        ForkError
            In a process that was forked from the one this was made in.
        """
        self._origin.require()
        with self._lock:
            if self._closed:
                raise ClosedError
            self._calls += 1
        try:
            yield
        finally:
            if self._origin.is_here():
                with self._lock:
                    self._calls -= 1
                    release = self._over()
                if release:
                    self._release()

    def close(self) -> None:
        """Let no call begin any more, and release as soon as none runs; a second time does nothing."""
        if not self._origin.is_here():
            return
        with self._lock:
            self._closed = True
            release = self._over()
        if release:
            self._release()

    def _over(self) -> bool:
        """Say, once, that it may be released."""
        if self._released or not self._closed or self._calls:
            return False
        self._released = True
        return True


class _SettingUp:
    """Which threads import, compile or open sessions; a fork meanwhile takes locks along that nobody will open."""

    def __init__(self) -> None:
        self.threads: dict[int, int] = {}
        self.broken: int | None = None
        after_fork(self._inherit)

    def _inherit(self) -> None:
        if set(self.threads) - {threading.get_ident()} or _imports_elsewhere():
            self.broken = os.getppid()
        self.threads.clear()


def _imports_elsewhere() -> bool:
    """Say whether another thread has a module of this package locked, to import it; a fork does not open that."""
    held = {getattr(lock, "owner", None) for lock in _module_locks("tdt")}
    return bool(held - {None, threading.get_ident()})


def _module_locks(prefix: str = "") -> list[Any]:
    """Return the locks of modules that are being imported."""
    locks = dict(getattr(importlib._bootstrap, "_module_locks", {}))
    return [lock() for name, lock in locks.items() if name.startswith(prefix)]


_setting_up = _SettingUp()


def begin_setting_up() -> None:
    """Mark that this thread imports, compiles or opens sessions, once more.

    Raises
    ------
    ForkError
        Where another thread was about it when this process was forked: its locks would never open.
    """
    if _setting_up.broken is not None:
        raise ForkError(_setting_up.broken, os.getpid(), loading=True)
    me, threads = threading.get_ident(), _setting_up.threads
    threads[me] = threads.get(me, 0) + 1


def end_setting_up() -> None:
    """Take one such mark back."""
    me, threads = threading.get_ident(), _setting_up.threads
    left = threads.get(me, 0) - 1
    if left > 0:
        threads[me] = left
    else:
        threads.pop(me, None)


@contextmanager
def setting_up() -> Iterator[None]:
    """Mark a block that imports, compiles or opens sessions.

    Raises
    ------
    ForkError
        As :func:`begin_setting_up` does.
    """
    begin_setting_up()
    try:
        yield
    finally:
        end_setting_up()


def is_setting_up() -> bool:
    """Say whether this thread holds, perhaps, a lock that others need to go on: it may not wait for them.

    The collector may run a generator's end anywhere, also in the middle of an import or amid compiling.
    """
    me = threading.get_ident()
    return me in _setting_up.threads or any(getattr(lock, "owner", None) == me for lock in _module_locks())
