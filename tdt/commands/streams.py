"""The standard streams of the command: what becomes of output that cannot be written.

- Standard output is UTF-8 in any locale; what no UTF-8 can say (bytes of file names) is written as an escape.
- Where nobody reads on (``| head``), the command ends quietly with status 141, as programs that SIGPIPE ends have it.
- Where standard output is closed, or the disk behind it is full, that is an error: a message, and status 1.
- Where messages cannot be written (``2>&-``, a full disk), they are lost, and the work goes on.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tdt.errors import AudioNotFoundError, OutputError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# What a shell reports of a program that SIGPIPE (13) ended.
NOBODY_READS = 128 + 13


def print_out(text: str) -> None:
    """Write a result to standard output, at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def standard_input() -> Any:
    """Return the bytes of standard input.

    Raises
    ------
    AudioNotFoundError
        It is closed.
    """
    if sys.stdin is None:
        raise AudioNotFoundError("Standard input is closed; audio was expected there. Pipe it in, or name a file.")
    return sys.stdin.buffer


class ReaderGoneError(BrokenPipeError):
    """The other end of standard output, or of standard error, is closed."""


class _Descriptor(io.FileIO):
    """A standard stream that fails once; after that everything is dropped.

    Otherwise each further result, and the interpreter's own flush at exit, would stumble over the same again.
    """

    def __init__(self, number: int, name: str, *, closed: bool, forgiving: bool) -> None:
        super().__init__(number, "wb", closefd=False)
        self._called = name
        self._was_closed = closed
        self._forgiving = forgiving
        self._lost = False

    def write(self, data: ReadableBuffer, /) -> int:
        """Write, or raise what the command ends with."""
        size = memoryview(data).nbytes
        if self._lost:
            return size
        try:
            return self._written(data)
        except OSError as error:
            self._lost = True
            if isinstance(error, BrokenPipeError):
                raise ReaderGoneError from error
            if self._forgiving:
                return size
            raise OutputError(self._called, error.strerror or str(error)) from error

    def _written(self, data: ReadableBuffer) -> int:
        if self._was_closed:
            raise OSError(errno.EBADF, "it is closed")
        return super().write(data)


def prepare() -> None:
    """Make the process's own streams behave; streams that somebody has put in their place keep their ways."""
    closed = [number for number in (0, 1, 2) if not _is_open(number)]
    for number in closed:
        # Else the next file that is opened, such as a model, would take the number, and messages with it.
        nothing = os.open(os.devnull, os.O_RDWR)
        if nothing != number:
            os.dup2(nothing, number)
            os.close(nothing)
        os.set_inheritable(number, True)  # for processes that are started from here
    if os.name != "posix":
        _use_utf8(sys.stdout)
        return
    if sys.stdout is sys.__stdout__:
        sys.stdout = _text(sys.stdout, 1, "standard output", "utf-8", closed=1 in closed, forgiving=False)
    else:
        _use_utf8(sys.stdout)
    if sys.stderr is sys.__stderr__:
        encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
        sys.stderr = _text(sys.stderr, 2, "standard error", encoding, closed=2 in closed, forgiving=True)


def settle() -> None:
    """Write out what is held; what fails now has been told or was not wanted."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _text(old: Any, number: int, name: str, encoding: str, *, closed: bool, forgiving: bool) -> io.TextIOWrapper:
    with suppress(AttributeError, OSError, ValueError):
        old.flush()
    raw = _Descriptor(number, name, closed=closed or old is None, forgiving=forgiving)
    # Terminals, `python -u` and messages want each line at once.
    at_once = forgiving or getattr(old, "line_buffering", False) or getattr(old, "write_through", False)
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=at_once)


def _use_utf8(stream: Any) -> None:
    encoding = (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "")
    if encoding != "utf8" and hasattr(stream, "reconfigure"):
        stream.reconfigure(encoding="utf-8")
