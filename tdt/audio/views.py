"""Parts of a source as files of their own, for decoders that call back to read."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from tdt.errors import AudioReadError

if TYPE_CHECKING:
    from tdt.audio.sources import Encoded, Pipe

# Damaged containers send their demuxers in circles: more than so many times its size is read of no good file.
_MOST_PASSES = 20
_FREE_BYTES = 1 << 26
_FREE_READS = 100_000


class Kept(ABC):
    """A file for decoders that call back: what goes wrong in a call-back is kept, as libraries in between drop it.

    An interruption of the program is kept, too. After it, the file seems to have ended; :meth:`check` raises it.
    """

    def __init__(self) -> None:
        self._problem: BaseException | None = None

    def check(self) -> None:
        """Raise what went wrong in a call-back."""
        if self._problem is not None:
            raise self._problem

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes; none at the end, and after a failure."""
        if self._problem is not None:
            return b""
        try:
            return self._next(size)
        except BaseException as error:  # noqa: BLE001  raised by check()
            self._problem = error
            return b""

    @abstractmethod
    def _next(self, size: int) -> bytes:
        """Return the next bytes; whatever this raises is kept."""


class View(Kept):
    """Bytes `start` to `stop` of a source as a file of their own, for decoders that call back.

    Parameters
    ----------
    source : Encoded
    start, stop : int
    """

    def __init__(self, source: Encoded, start: int, stop: int) -> None:
        super().__init__()
        self._source, self._start, self._stop = source, start, stop
        self._at = 0
        self._work, self._reads = _MOST_PASSES * (stop - start) + _FREE_BYTES, _FREE_READS + (stop - start)

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def tell(self) -> int:
        """Return the place in the view."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move there, or stay where there is no such place, as damaged files ask for."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._stop - self._start}.get(whence, 0)
        if 0 <= base + offset < 1 << 62:
            self._at = base + offset
        return self._at

    def _next(self, size: int) -> bytes:
        left = max(0, self._stop - self._start - self._at)
        part = self._source.read_at(self._start + self._at, left if size < 0 else min(size, left))
        self._at += len(part)
        self._work -= len(part)
        self._reads -= 1
        if min(self._work, self._reads) < 0:
            raise AudioReadError(
                f"{self._source.name} sends its decoder in circles; a sound file was expected. It is damaged."
            )
        return part


class PipeView(Kept):
    """The next bytes of a pipe as a file, up to `length` of them.

    Parameters
    ----------
    pipe : Pipe
    length : int, optional
        All that comes where not given.
    """

    def __init__(self, pipe: Pipe, length: int | None = None) -> None:
        super().__init__()
        self._pipe, self._length = pipe, length
        self.taken = 0

    def _next(self, size: int) -> bytes:
        count = 1 << 16 if size < 0 else size
        if self._length is not None:
            count = min(count, self._length - self.taken)
        part = self._pipe.read(count) if count else b""
        self.taken += len(part)
        return part
