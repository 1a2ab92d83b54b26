"""Where long audio is cut, and how the pieces are joined again: pure decisions on encoder frames, no sessions.

A window has a span of its own and context on both sides. The encoder hears all of it; tokens are kept from the span
alone. Decoding goes on over the cut with the state it had there. Around a cut both windows are decoded from that same
state, and the longest run of tokens on which they agree decides where one takes over from the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tdt.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]

# Below this probability in all its parts, a frame is taken for a pause. Low: what may be speech is never left out.
PAUSE_SPEECH = 0.3
# Frames by which two windows may differ on when the same token was emitted.
SEAM_TOLERANCE = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """How to cut, in encoder frames.

    Parameters
    ----------
    chunk : int
        Most frames of a window, context included. Audio up to this length stays in one piece.
    context : int
        Most frames of context on each side of the span.
    margin : int
        Frames kept beside speech where a pause is left out.
    skip : int
        A pause at least this long is left out, and decoding starts afresh after it.
    """

    chunk: int
    context: int
    margin: int
    skip: int

    def __post_init__(self) -> None:
        if self.chunk < 4:
            raise OptionError("chunk", self.chunk, "at least 4 encoder frames")
        if min(self.context, self.margin) < 0 or 4 * self.context > self.chunk:
            raise OptionError(
                "context", self.context, f"0 to a quarter of the window, {self.chunk // 4} encoder frames"
            )
        if self.skip <= 2 * self.margin:
            raise OptionError("skip", self.skip, f"more than the two margins, {2 * self.margin} encoder frames")


class Window(NamedTuple):
    """Encoder frames `begin` to `end` are heard, tokens are kept from `first` to `last` (ends exclusive).

    `joined`: the speech before goes on, and so does the decoder's state. At a cut through speech the next window is
    decoded from `back` on, this one up to `ahead`; elsewhere both are `last`.
    """

    begin: int
    first: int
    last: int
    end: int
    joined: bool
    back: int
    ahead: int

    @classmethod
    def closed(cls, begin: int, first: int, last: int, *, joined: bool) -> Window:
        """Return a window after which nothing goes on."""
        return cls(begin, first, last, last, joined, last, last)


class Planner:
    """Cuts a stream at its quiet points, as soon as enough of it is known.

    Parameters
    ----------
    plan : Plan
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._speech: Float32 = np.zeros(0, np.float32)
        self._level: Float32 = np.zeros(0, np.float32)
        self._base = 0  # frame of the arrays' first entry
        self._position = 0  # next frame to be given to a window
        self._joined = False
        self._silent = False  # between windows, in silence that nobody needs
        self._begin = 0  # where the context of a joined window starts
        self._ahead = 0  # how far the window before is decoded

    @property
    def needed(self) -> int:
        """First frame that a window to come may still hear."""
        return self._begin if self._joined else self._position

    def add(self, speech: Float32, level_db: Float32) -> Iterator[Window]:
        """Take the next frames; yield the windows that no later frame can change.

        Parameters
        ----------
        speech, level_db : ndarray [shape=(n,)], float32
            One value an encoder frame.
        """
        self._speech = np.concatenate([self._speech, speech])
        self._level = np.concatenate([self._level, level_db])
        # The first window waits until the audio is known to be longer than one.
        while self._base + len(self._speech) > self._wait():
            window = self._next(final=False)
            if window is not None:
                yield window
            self._forget()

    def finish(self) -> Iterator[Window]:
        """Yield what is left; no frame follows."""
        end = self._base + len(self._speech)
        if self._position == 0 and not self._silent and end <= self.plan.chunk:
            # Short audio is one window as it stands, silence and all: nothing is decided about it.
            if end > 0:
                yield Window.closed(0, 0, end, joined=False)
            return
        while self._position < end:
            window = self._next(final=True)
            if window is not None:
                yield window

    def _wait(self) -> int:
        return self.needed + self.plan.chunk + self.plan.skip

    def _next(self, *, final: bool) -> Window | None:
        """Return the next window, or None where only silence was passed over."""
        plan, end = self.plan, self._base + len(self._speech)
        talking = self._speech[self._position - self._base :] >= PAUSE_SPEECH
        ahead = int(talking.argmax()) if talking.any() else len(talking)
        if ahead >= plan.skip or (self._silent and ahead > plan.margin) or (final and ahead == len(talking)):
            # What is passed over depends on where speech starts again, never on how the stream came in.
            self._position += ahead if final and ahead == len(talking) else max(0, ahead - plan.margin)
            self._joined, self._silent = False, True
            return None
        self._silent = False
        first = self._position
        begin = self._begin if self._joined else first
        limit = begin + plan.chunk
        pause = self._long_pause(first, limit, final=final)
        if pause is not None:
            stop = min(pause + plan.margin, limit)
            window = Window.closed(begin, first, stop, joined=self._joined)
            self._position, self._joined = stop, False
            return window
        if final and end <= limit:
            self._position = end
            return Window.closed(begin, first, end, joined=self._joined)
        return self._cut(begin, first, limit)

    def _cut(self, begin: int, first: int, limit: int) -> Window:
        """Cut at the best point of what fits."""
        plan = self.plan
        low = first + max(1, (limit - plan.context - first) // 3)
        high = max(low + 1, limit - plan.context)
        speech = self._speech[low - self._base : high - self._base]
        level = self._level[low - self._base : high - self._base]
        at, before, after = quiet_point(speech, level)
        last = low + at
        # In a clear pause, context ends where the neighbour's speech begins: it would only shift the normalisation.
        clear = after - before >= 2 * plan.margin
        end = min(last + plan.context, low + after if clear else limit, limit)
        following = max(last - plan.context, low + before if clear else 0, first)
        # Half of the context is decoded twice, once by each window; the far half only steadies the encoder.
        back = min(max(following, last - plan.context // 2, self._ahead if self._joined else 0), last)
        ahead = min(end, last + plan.context // 2)
        window = Window(begin, first, last, end, self._joined, back, ahead)
        self._begin, self._ahead = following, ahead
        self._position, self._joined = last, True
        return window

    def _long_pause(self, first: int, limit: int, *, final: bool) -> int | None:
        """Return where the first pause of at least `skip` frames starts, after speech and within the limit."""
        known = self._speech[first - self._base : limit + self.plan.skip - self._base]
        quiet = known < PAUSE_SPEECH
        for start, stop in runs(quiet):
            reaches_end = final and first + stop == self._base + len(self._speech)
            long_enough = stop - start >= self.plan.skip or (reaches_end and stop - start > self.plan.margin)
            if start > 0 and long_enough and first + start < limit:
                return first + start
        return None

    def _forget(self) -> None:
        gone = self.needed - self._base
        if gone > 0:
            self._speech, self._level = self._speech[gone:], self._level[gone:]
            self._base += gone


def runs(mask: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return start and stop (exclusive) of each run of true entries."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def quiet_point(speech: Float32, level_db: Float32) -> tuple[int, int, int]:
    """Return the best frame to cut at, and the pause around it.

    The middle of the longest pause; of equally long ones the last. Where nobody pauses, the frame with the lowest
    level over itself and its neighbours, and no pause (start and stop are the frame itself).

    Parameters
    ----------
    speech, level_db : ndarray [shape=(n,)], float32
        At least one frame.

    Returns
    -------
    at, start, stop : int
        `start <= at <= stop`.
    """
    pauses = runs(speech < PAUSE_SPEECH)
    if pauses:
        start, stop = max(pauses, key=lambda run: (run[1] - run[0], run[0]))
        return (start + stop) // 2, start, stop
    smooth = np.convolve(np.pad(level_db, 1, mode="edge"), np.full(3, 1 / 3, np.float32), mode="valid")
    at = int(smooth.argmin())
    return at, at, at


class FrameGrid:
    """Brings the detector's frames of 512 samples onto encoder frames: the loudest of those that overlap.

    Parameters
    ----------
    source_samples, frame_samples : int
        Samples of a frame on the way in and out.
    """

    def __init__(self, source_samples: int, frame_samples: int) -> None:
        self._ratio = (source_samples, frame_samples)
        self._held: Float32 = np.zeros(0, np.float32)
        self._first = 0  # source frame of the first value held
        self.given = 0  # frames out so far
        self.last = np.float32(0)  # the latest value that came in

    def add(self, values: Float32) -> Float32:
        """Take source frames [shape=(n,)]; return the encoder frames that they complete."""
        self._held = np.concatenate([self._held, values])
        self.last = self._held[-1] if len(self._held) else self.last
        joined = self._held
        source, frame = self._ratio
        ready = (self._first + len(joined)) * source // frame
        out = np.array([self._peak(joined, i) for i in range(self.given, ready)], np.float32)
        self.given = max(ready, self.given)
        keep = self.given * frame // source - self._first
        self._held = joined[keep:]
        self._first += keep
        return out

    def _peak(self, joined: Float32, index: int) -> np.float32:
        source, frame = self._ratio
        low = index * frame // source - self._first
        high = -(-(index + 1) * frame // source) - self._first
        return np.float32(joined[low:high].max())


class Seam(NamedTuple):
    """Tokens of the earlier window to keep, and of the later window to drop, in the stretch both have decoded."""

    keep: int
    drop: int


def join(
    earlier_ids: Sequence[int],
    earlier_frames: Sequence[int],
    later_ids: Sequence[int],
    later_frames: Sequence[int],
    cut: int,
) -> Seam:
    """Return where the later window takes over from the earlier one.

    Both have decoded the frames around `cut` from the same state. They change over within the longest run of tokens
    which both emitted, at most three frames apart; of equally long runs, the one nearest to the cut. Without any, each
    keeps what lies on its side of the cut.

    Parameters
    ----------
    earlier_ids, earlier_frames, later_ids, later_frames : sequence of int
        Tokens of the common stretch, in order.
    cut : int
        Frame.
    """
    best: tuple[int, int, int, int] | None = None
    for i in range(len(earlier_ids)):
        for j in range(len(later_ids)):
            length = 0
            while (
                i + length < len(earlier_ids)
                and j + length < len(later_ids)
                and earlier_ids[i + length] == later_ids[j + length]
                and abs(earlier_frames[i + length] - later_frames[j + length]) <= SEAM_TOLERANCE
            ):
                length += 1
            if length:
                middle = earlier_frames[i + length // 2]
                candidate = (length, -abs(middle - cut), i, j)
                best = candidate if best is None or candidate > best else best
    if best is None:
        return Seam(sum(f < cut for f in earlier_frames), sum(f < cut for f in later_frames))
    length, _, i, j = best
    before = sum(frame < cut for frame in earlier_frames[i : i + length])
    return Seam(i + before, j + before)
