"""Threads that help are kept off the processor of the thread that they help.

Where both have slept, Linux may wake the helper on the processor that the other one has just begun to work on, and
leave it waiting there although another is idle: on a virtual machine of two processors a helper came up to 5 ms late
after a pause, and a call with it took longer than one without. It is sent elsewhere before it wakes.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import Any

from tdt.c_library import c_function

_NOWHERE = -1


@dataclass(slots=True)
class _Thread:
    """A thread of the pool: where it may run for all that others say, and where it was sent last."""

    native_id: int
    allowed: set[int]
    sent: set[int]


class Placement:
    """Where the threads of a pool may run. Where the system cannot be told, they run where it likes."""

    def __init__(self) -> None:
        self._threads: list[_Thread] = []
        self._avoided: int | None = None
        self._lock = threading.Lock()
        self._current = _current_processor()

    def joined(self) -> None:
        """Take note of the calling thread, which belongs to the pool."""
        if self._current is not None:
            allowed = os.sched_getaffinity(0)
            with self._lock:
                self._threads.append(_Thread(threading.get_native_id(), allowed, allowed))
                self._avoided = None  # it has not been sent anywhere yet

    def keep_off(self, *, alone: bool) -> None:
        """Keep the pool's threads off the calling thread's processor; off none where it is not `alone` in asking.

        A thread of the pool that has a part of its own asks beside others, whichever is first.
        """
        if self._current is None:
            return
        me = threading.get_native_id()
        with self._lock:
            own = any(thread.native_id == me for thread in self._threads)
            here = self._current() if alone and not own else _NOWHERE
            if here == self._avoided:
                return
            self._avoided = here
            try:
                for thread in self._threads:
                    _send(thread, here)
            except OSError:  # not in this sandbox, or the thread is gone
                self._current = None


def _send(thread: _Thread, here: int) -> None:
    now = os.sched_getaffinity(thread.native_id)
    if now != thread.sent:  # somebody else has said where it may run
        thread.allowed = now
    thread.sent = thread.allowed - {here} or thread.allowed
    if thread.sent != now:
        os.sched_setaffinity(thread.native_id, thread.sent)


def _current_processor() -> Any:
    """Return a function that tells the calling thread's processor; None where there is none."""
    return c_function("sched_getcpu") if hasattr(os, "sched_setaffinity") else None
