"""The speech detector's answer on encoder frames: brought onto their grid, then decided."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]
    Bool = npt.NDArray[np.bool_]

# Speech is surely there for a while, and goes on while it stays possible. Chosen by measurement: lower probabilities
# let music and noise through, whose words are invented; higher ones eat the ends of words.
SURE = 0.7
POSSIBLE = 0.4
# The onset of a note is taken for speech for some 100 ms, a word for longer: fewer sure frames than this are none. More
# eat short words.
SURE_FRAMES = 3
# What stays possible for 2 s without ever becoming sure is not withheld any longer.
UNDECIDED_FRAMES = 25


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


class SpeechMask:
    """Decides which frames are speech, with hysteresis, on a stream."""

    def __init__(self) -> None:
        self._undecided = 0
        self._sure = 0
        self._talking = False

    def add(self, speech: Float32) -> Bool:
        """Take probabilities [shape=(n,)]; return the decisions that they allow, in order, some perhaps later."""
        decided: list[bool] = []
        for probability in speech.tolist():
            if probability < POSSIBLE:
                decided += [False] * (self._undecided + 1)
                self._undecided, self._sure, self._talking = 0, 0, False
            elif self._talking:
                decided.append(True)
            else:
                self._undecided += 1
                self._sure += probability >= SURE
                if self._sure >= SURE_FRAMES or self._undecided >= UNDECIDED_FRAMES:
                    decided += [True] * self._undecided
                    self._undecided, self._talking = 0, True
        return np.array(decided, np.bool_)

    def flush(self) -> Bool:
        """Decide the rest: the end of a recording is speech where it may be."""
        rest = np.ones(self._undecided, np.bool_)
        self._undecided = self._sure = 0
        return rest
