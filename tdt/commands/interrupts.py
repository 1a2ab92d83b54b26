"""Ctrl-C: the command ends with status 130, soon and whatever it is doing.

An interrupt that Python raises amid an import, a callback or a lock can be lost, turn into another error, or leave a
lock closed for ever. So until a command has something to lose, a thread ends the process without raising anything; from
then on the interrupt is raised, and the thread sees to it that the process ends.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from tdt.ending import at_work

if TYPE_CHECKING:
    from types import FrameType, TracebackType

INTERRUPTED = 130
# What ending in order may take; a second Ctrl-C ends at once.
ORDERLY_SECONDS = 60.0


class Interrupts:
    """A context in which Ctrl-C ends the command; does nothing where somebody else handles or ignores it.

    Parameters
    ----------
    command : str
        What the message begins with.
    """

    def __init__(self, command: str) -> None:
        self._command = command
        self._seconds: float | None = None
        self._received = False
        self._done = threading.Event()
        self._pipe: tuple[int, int] | None = None
        self._thread = threading.Thread(target=self._watch, name="tdt-interrupts", daemon=True)

    def __enter__(self) -> Self:
        main = threading.current_thread() is threading.main_thread()
        if os.name == "posix" and main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._pipe = os.pipe()
            os.set_blocking(self._pipe[1], False)
            self._thread.start()
            self._wakeup = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
            signal.signal(signal.SIGINT, self._handle)
            _current.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pipe is None:
            return
        _current.remove(self)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.set_wakeup_fd(self._wakeup)
        self._done.set()
        os.close(self._pipe[1])
        self._thread.join()
        os.close(self._pipe[0])
        if self._received and error is not None and not isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise KeyboardInterrupt from error  # what became of it on its way

    def end_in_order(self, seconds: float = ORDERLY_SECONDS) -> None:
        """From now on raise KeyboardInterrupt, and end the process where that takes longer than so many seconds."""
        self._seconds = seconds

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Raise once; the thread does the rest."""
        if self._seconds is not None and not self._received:
            self._received = True
            at_work.hurry(INTERRUPTED)
            raise KeyboardInterrupt

    def _watch(self) -> None:
        """Read the signals that arrive, also while the main thread is inside a long call."""
        assert self._pipe is not None
        before = False
        while received := os.read(self._pipe[0], 64):
            if signal.SIGINT not in received:
                continue
            if before or received.count(signal.SIGINT) > 1 or self._seconds is None:
                self._end()
            before = True
            threading.Thread(target=self._end_late, args=(self._seconds,), daemon=True).start()

    def _end_late(self, seconds: float) -> None:
        if not self._done.wait(seconds):
            self._end()

    def _end(self) -> None:
        with suppress(OSError):  # not by Python's stream: the main thread may hold its lock
            os.write(2, f"{self._command}: interrupted\n".encode())
        os._exit(INTERRUPTED)


_current: list[Interrupts] = []


def end_in_order(seconds: float) -> None:
    """Do so in the command that runs: it has something to put in order from now on."""
    for interrupts in _current:
        interrupts.end_in_order(seconds)
