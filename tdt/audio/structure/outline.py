"""What a walk over a file finds: the files that it is joined of, and what is missing at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol


class ByteSource(Protocol):
    """Bytes that can be read anywhere."""

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    def read_at(self, at: int, count: int) -> bytes:
        """Return up to `count` bytes from `at` on; fewer only at the end."""
        ...


class Piece(NamedTuple):
    """One of the files that a source is joined of.

    `start` and `stop` are its bytes, `frames` its samples a channel at `rate_hz`, where that can be told. `ffmpeg` says
    that libsndfile would get it wrong: a header that was never finished, sound beside pictures.
    """

    start: int
    stop: int
    frames: int | None = None
    rate_hz: int | None = None
    ffmpeg: bool = False


@dataclass(frozen=True, slots=True)
class Outline:
    """The pieces of a source, in order; `problem` is what is missing at the end, `note` what to tell of it, or ""."""

    pieces: tuple[Piece, ...]
    problem: str = ""
    note: str = ""

    @property
    def seconds(self) -> float | None:
        """What the pieces claim together; None where one does not say."""
        total = 0.0
        for piece in self.pieces:
            if piece.frames is None or not piece.rate_hz:
                return None
            total += piece.frames / piece.rate_hz
        return total


def whole(source: ByteSource, problem: str = "") -> Outline:
    """Return the outline of a source that is one piece."""
    return Outline((Piece(0, source.size),), problem)


class Cursor:
    """Small reads from a source by way of a large one.

    Parameters
    ----------
    source : ByteSource
    window : int, optional
        Bytes of a large read.
    """

    def __init__(self, source: ByteSource, window: int = 1 << 18) -> None:
        self._source, self._window = source, window
        self._held, self._first = b"", 0
        self.size = source.size

    def get(self, at: int, count: int) -> bytes:
        """Return up to `count` bytes from `at` on; fewer only at the end."""
        first = at - self._first
        if first < 0 or first + count > len(self._held):
            self._held, self._first, first = self._source.read_at(at, max(count, self._window)), at, 0
        return self._held[first : first + count]

    def find(self, needle: bytes, at: int, stop: int) -> int:
        """Return where `needle` begins first from `at` on and before `stop`, or -1."""
        if self.get(at, len(needle)) == needle:
            return at if at < stop else -1
        while at < stop:
            held = self.get(at, min(self._window, stop - at + len(needle) - 1))
            found = held.find(needle)
            if found >= 0:
                return at + found if at + found < stop else -1
            if len(held) < len(needle):
                return -1
            at += len(held) - len(needle) + 1
        return -1
