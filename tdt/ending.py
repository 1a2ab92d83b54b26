"""How the interpreter ends while threads are at work: they finish what they have begun, and begin nothing more.

The interpreter stops its daemon threads where they next need it. In the middle of a call into compiled C++ code, such
as a run of ONNX Runtime, that ends the whole process with an abort. So those calls are counted and waited for at exit.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from contextlib import suppress
from threading import get_ident
from typing import TYPE_CHECKING

from tdt.lifetime import after_fork

if TYPE_CHECKING:
    from collections.abc import Callable

# A run takes seconds at most; whatever takes longer is not waited for.
_LONGEST_SECONDS = 60.0
_STEP_SECONDS = 0.002
_UNWINDING_SECONDS = 0.05  # for threads that have just been told


def wait_for(done: Callable[[], bool], seconds: float) -> bool:
    """Wait until something is done, not longer than so many seconds; say whether it was done from the start."""
    if done():
        return True
    last = time.monotonic() + seconds
    while not done() and time.monotonic() < last:
        time.sleep(_STEP_SECONDS)
    return False


class _AtWork:
    """A context for calls into compiled code, shared by all threads."""

    __slots__ = ("_threads", "hurried", "over")

    def __init__(self) -> None:
        self._threads: dict[int, None] = {}
        self.over = False
        self.hurried: int | None = None

    def __enter__(self) -> None:
        me = get_ident()
        self._threads[me] = None  # first, so that whoever ends the interpreter in between sees it
        if self.over and threading.current_thread() is not threading.main_thread():
            del self._threads[me]
            raise SystemExit  # ends this thread without a word

    def __exit__(self, *_: object) -> None:
        self._threads.pop(get_ident(), None)

    def hurry(self, status: int) -> None:
        """Have nobody wait for others any more: the program was interrupted, and ends with this status."""
        self.hurried = status

    def finish(self) -> None:
        """Let no other thread begin a call any more, and wait for those that are in one."""
        self.over = True
        if self.hurried is not None and (set(self._threads) - {get_ident()} or _others_run()):
            for stream in (sys.stdout, sys.stderr):
                with suppress(AttributeError, OSError, ValueError):
                    stream.flush()
            os._exit(self.hurried)
        if not wait_for(lambda: not set(self._threads) - {get_ident()}, _LONGEST_SECONDS):
            time.sleep(_UNWINDING_SECONDS)

    def forget(self) -> None:
        """Forget the threads of the process that this one was forked from."""
        self._threads.clear()


def _others_run() -> bool:
    """Say whether threads run that the interpreter would stop anywhere, in compiled code, too."""
    return any(thread.daemon and thread is not threading.current_thread() for thread in threading.enumerate())


at_work = _AtWork()
after_fork(at_work.forget)
atexit.register(at_work.finish)
