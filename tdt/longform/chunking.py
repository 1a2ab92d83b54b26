"""Where long audio is cut: pure decisions on encoder frames, no sessions.

A window ends at a pause; the longer it is already, the shorter a pause will do. Where nobody pauses until it is full,
it is cut where the level is lowest. There, and less far where the pause is short, windows overlap: the encoder hears
context on both sides, tokens are kept from the window's own span, and around the cut both are decoded, to change over
where they agree (:mod:`tdt.longform.seams`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from tdt.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]
    Bool = npt.NDArray[np.bool_]

# How a window follows the one before: decoding starts afresh, goes on after a pause, or goes on through speech.
Link = Literal["fresh", "carried", "joined"]


@dataclass(frozen=True, slots=True)
class Plan:
    """How to cut, in encoder frames.

    Parameters
    ----------
    chunk : int
        Most frames of a window, context included. Audio up to this length stays in one piece.
    context : int
        Frames of context on each side of a cut through speech.
    aside : int
        The same for a cut in a pause shorter than `pause`; never more than `context`.
    margin : int
        Frames kept beside speech; the rest of a pause is left out.
    pause : int
        A pause this long ends any window.
    least : int
        A pause this long ends a window of at least `target` frames; in between, the pause asked for falls linearly.
    target : int
    reset : int
        After a pause this long, decoding starts afresh.
    """

    chunk: int
    context: int
    aside: int = 0
    margin: int = 2
    pause: int = 5
    least: int = 2
    target: int = 40
    reset: int = 25

    def __post_init__(self) -> None:
        if self.chunk < 4:
            raise OptionError("chunk", self.chunk, "at least 4 encoder frames")
        if self.context < 0 or 4 * self.context > self.chunk:
            expected = f"0 to a quarter of the window, {self.chunk // 4} encoder frames"
            raise OptionError("context", self.context, expected)
        if self.aside < 0:
            raise OptionError("aside", self.aside, "0 or more encoder frames")
        if self.margin < 0 or self.pause <= 2 * self.margin:
            raise OptionError("pause", self.pause, f"more than the two margins, {2 * self.margin} encoder frames")
        if not 1 <= self.least <= self.pause or self.target < 1:
            raise OptionError("least", self.least, f"1 to the pause, {self.pause} encoder frames")

    def pause_needed(self, length: int) -> float:
        """Return how long a pause must be to end a window of `length` frames."""
        return max(self.least, self.pause - (self.pause - self.least) * length / self.target)


class Window(NamedTuple):
    """Encoder frames `begin` to `end` are heard, tokens are kept from `first` to `last` (ends exclusive).

    Where windows overlap, the next one is decoded from `back` on, this one up to `ahead`; else both are `last`.
    """

    begin: int
    first: int
    last: int
    end: int
    link: Link
    back: int
    ahead: int

    @classmethod
    def closed(cls, begin: int, first: int, last: int, link: Link) -> Window:
        """Return a window that ends in a pause."""
        return cls(begin, first, last, last, link, last, last)

    @classmethod
    def silent(cls, at: int) -> Window:
        """Return the word that after a window which ended at this frame decoding will start afresh: none is heard."""
        return cls.closed(at, at, at, "fresh")

    @property
    def is_silent(self) -> bool:
        """Say whether it holds nothing, see :meth:`silent`."""
        return self.begin == self.end


class _NotYet(Exception):  # noqa: N818  no error: what follows decides
    """Frames that are not known yet decide what comes next."""


class _Pause(NamedTuple):
    """The frame at which a pause ends a window, and whether it would not have ended any."""

    at: int
    short: bool


class Planner:
    """Cuts a stream at its quiet points: each window is given as soon as nothing that follows can change it.

    Parameters
    ----------
    plan : Plan
    at_once : bool
        Do not wait until more than a window has come: what turns out to be shorter is cut, too. A pause after which
        decoding starts afresh is told by a silent window as soon as it is so long, not when speech follows.
    """

    def __init__(self, plan: Plan, *, at_once: bool = False) -> None:
        self.plan = plan
        self._at_once = self._tells_silence = at_once
        self._talk: Bool = np.zeros(0, np.bool_)
        self._level: Float32 = np.zeros(0, np.float32)
        self._base = 0  # frame of the arrays' first entry
        self._position = 0  # next frame to be given to a window
        self._begun = False
        self._link: Link = "fresh"
        self._begin = 0  # where the context of a joined window starts
        self._ahead = 0  # how far the window before is decoded
        self._stopped = 0  # where the window before ended

    @property
    def needed(self) -> int:
        """First frame that a window to come may still hear."""
        return self._begin if self._link == "joined" else self._position

    def add(self, talk: Bool, level_db: Float32) -> Iterator[Window]:
        """Take the next frames; yield the windows that no later frame can change.

        Parameters
        ----------
        talk : ndarray [shape=(n,)], bool
            Whether there is speech.
        level_db : ndarray [shape=(n,)], float32
        """
        self._talk = np.concatenate([self._talk, talk])
        self._level = np.concatenate([self._level, level_db])
        # Audio that fits into one window stays in one piece: the first waits until it is known to be longer.
        self._at_once = self._at_once or self._end > self.plan.chunk
        while self._at_once:
            try:
                window = self._next(final=False)
            except _NotYet:
                break
            if window is not None:
                yield window
            self._forget()

    def finish(self) -> Iterator[Window]:
        """Yield what is left; no frame follows."""
        end = self._end
        if not self._begun and end <= self.plan.chunk:
            # Short audio is one window as it stands, silence and all: nothing is decided about it.
            if end > 0:
                yield Window.closed(0, 0, end, "fresh")
            return
        while self._position < end:
            window = self._next(final=True)
            if window is not None:
                yield window

    @property
    def _end(self) -> int:
        return self._base + len(self._talk)

    def _next(self, *, final: bool) -> Window | None:
        """Return the next window, or None where only silence was passed over."""
        if self._pass_silence(final=final):
            self._begun = True
            return self._silence()
        first, link = self._position, self._link
        begin = self._begin if link == "joined" else first
        limit = begin + self.plan.chunk
        pause = self._pause(first, limit, final=final)
        aside = min(self.plan.aside, self.plan.context) if pause is not None and pause.short else 0
        if pause is not None and not final and self._end < min(pause.at + aside, limit):
            raise _NotYet
        self._begun = True
        if pause is None and not (final and self._end <= limit):
            return self._cut(begin, first, limit)
        if pause is not None and aside > 0:
            return self._overlapped(begin, first, pause.at, aside, limit)
        self._position = self._stopped = self._end if pause is None else pause.at
        self._link = "carried"
        return Window.closed(begin, first, self._stopped, link)

    def _pass_silence(self, *, final: bool) -> bool:
        """Move to the next speech; say whether that was needed."""
        talk = self._talk[self._position - self._base :]
        ahead = int(talk.argmax()) if talk.any() else len(talk)
        nothing = ahead == len(talk)
        if ahead <= self.plan.margin and not nothing:
            return False
        if ahead <= self.plan.margin and not final:
            raise _NotYet
        # Where the next window starts depends on where speech does, never on how the stream came in.
        self._position += ahead if final and nothing else max(0, ahead - self.plan.margin)
        if self._link == "joined":
            self._link = "carried"
        return True

    def _silence(self) -> Window | None:
        """Start afresh after a long pause; return the word of it where that is wanted."""
        if self._link != "carried" or self._position - self._stopped < self.plan.reset:
            return None
        self._link = "fresh"
        return Window.silent(self._stopped) if self._tells_silence else None

    def _pause(self, first: int, limit: int, *, final: bool) -> _Pause | None:
        """Return the pause that ends the window, if one does."""
        plan = self.plan
        known = self._talk[first - self._base : limit + plan.pause - self._base]
        more = not final and self._end < limit + plan.pause
        for start, stop in runs(~known):
            ends = final and first + stop == self._end and stop - start > plan.margin
            if more and stop == len(known) and stop - start < plan.pause:
                raise _NotYet  # it goes on, perhaps
            if 0 < start < limit - first and (ends or stop - start >= plan.pause_needed(start)):
                at = min(first + start + min(plan.margin, (stop - start) // 2), limit)
                return _Pause(at, short=not ends and stop - start < plan.pause)
        if more:
            raise _NotYet
        return None

    def _cut(self, begin: int, first: int, limit: int) -> Window:
        """Cut through speech, where it is softest."""
        plan = self.plan
        low = first + max(1, (limit - plan.context - first) // 2)
        high = max(low + 1, limit - plan.context)
        last = low + softest(self._level[low - self._base : high - self._base])
        return self._overlapped(begin, first, last, plan.context, limit)

    def _overlapped(self, begin: int, first: int, last: int, context: int, limit: int) -> Window:
        """Return a window that hears on beyond its last frame, as the next one will hear what lies before its first."""
        end = min(last + context, limit, self._end)
        following = max(last - context, first)
        # Half of the context is decoded twice, once by each window; the far half only steadies the encoder.
        ahead_before = self._ahead if self._link == "joined" else 0
        back = min(max(following, last - context // 2, ahead_before), last)
        ahead = min(end, last + context // 2)
        window = Window(begin, first, last, end, self._link, back, ahead)
        self._begin, self._ahead, self._stopped = following, ahead, last
        self._position, self._link = last, "joined"
        return window

    def _forget(self) -> None:
        gone = self.needed - self._base
        if gone > 0:
            self._talk, self._level = self._talk[gone:], self._level[gone:]
            self._base += gone


def runs(mask: Bool) -> list[tuple[int, int]]:
    """Return start and stop (exclusive) of each run of true entries."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def softest(level_db: Float32) -> int:
    """Return the frame [of shape=(n,), n > 0] with the lowest level over itself and its neighbours."""
    smooth = np.convolve(np.pad(level_db, 1, mode="edge"), np.full(3, 1 / 3, np.float32), mode="valid")
    return int(smooth.argmin())
