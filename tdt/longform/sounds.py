"""Sound that is looked at once more: its samples and the detector's verdicts by encoder frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from tdt.longform.activity import FrameGrid
from tdt.longform.levels import FRAME_SAMPLES
from tdt.longform.skips import Stretch
from tdt.longform.vad import SpeechDetector
from tdt.spec import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tdt.longform.windows import Piece

    Float32 = npt.NDArray[np.float32]

# What is heard on each side of a stretch, so that its words have something around them, and the cuts are others.
AROUND_SECONDS = 2.0


class Sound(Protocol):
    """What a second look needs of a recording."""

    @property
    def span(self) -> Stretch:
        """The frames that can be had."""
        ...

    def speech(self, stretch: Stretch) -> Float32:
        """Return the probability of speech in each frame of a stretch."""
        ...

    def samples(self, stretch: Stretch) -> Float32:
        """Return the samples of a stretch."""
        ...


class ClipSound:
    """A clip in one piece, which no detector has heard yet.

    Parameters
    ----------
    samples : ndarray [shape=(n,)], float32
    frame_samples : int
        Samples of an encoder frame.
    """

    def __init__(self, samples: Float32, frame_samples: int) -> None:
        self._samples, self._frame_samples = samples, frame_samples
        self.span = Stretch(0, len(samples) // frame_samples)

    def speech(self, stretch: Stretch) -> Float32:
        """Ask the detector about a stretch, and a little around for it to settle."""
        around = round(AROUND_SECONDS * SAMPLE_RATE_HZ) // self._frame_samples
        heard = Stretch(max(0, stretch.first - around), min(self.span.last, stretch.last + around))
        detector, grid = SpeechDetector(), FrameGrid(FRAME_SAMPLES, self._frame_samples)
        activities = [*detector.feed(self.samples(heard)), detector.flush()]
        known = np.concatenate([grid.add(activity.speech) for activity in activities])
        known = np.pad(known, (0, heard.last - heard.first - len(known)), constant_values=grid.last)
        return known[stretch.first - heard.first : stretch.last - heard.first]

    def samples(self, stretch: Stretch) -> Float32:
        """Return the samples of a stretch."""
        return self._samples[stretch.first * self._frame_samples : stretch.last * self._frame_samples]


class PiecesSound:
    """Windows of a recording, what lies between them silent.

    Parameters
    ----------
    pieces : sequence of Piece
        In order, at least one.
    frame_samples : int
        Samples of an encoder frame.
    """

    def __init__(self, pieces: Sequence[Piece], frame_samples: int) -> None:
        self._pieces, self._frame_samples = pieces, frame_samples
        self.span = Stretch(pieces[0].window.begin, max(piece.window.end for piece in pieces))

    def speech(self, stretch: Stretch) -> Float32:
        """Return what the detector said when the recording was cut."""
        return self._laid([piece.speech for piece in self._pieces], stretch, 1)

    def samples(self, stretch: Stretch) -> Float32:
        """Return the samples of a stretch."""
        return self._laid([piece.samples for piece in self._pieces], stretch, self._frame_samples)

    def _laid(self, parts: Sequence[Float32], stretch: Stretch, scale: int) -> Float32:
        """Return the values of a stretch, of `scale` a frame, from parts that begin where their windows do."""
        whole = np.zeros((stretch.last - stretch.first) * scale, np.float32)
        for piece, values in zip(self._pieces, parts, strict=True):
            at = (piece.window.begin - stretch.first) * scale
            part = values[max(0, -at) :][: max(0, len(whole) - max(0, at))]
            whole[max(0, at) : max(0, at) + len(part)] = part
        return whole
