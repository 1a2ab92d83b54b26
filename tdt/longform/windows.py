"""From blocks of samples to the windows that the encoder gets: detector, planner and a buffer no longer than needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tdt.errors import AudioReadError
from tdt.longform.activity import FrameGrid, SpeechMask
from tdt.longform.chunking import Planner
from tdt.longform.levels import FRAME_SAMPLES
from tdt.longform.vad import SpeechDetector

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt

    from tdt.longform.chunking import Plan, Window
    from tdt.longform.vad import Activity

    Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Piece:
    """A window from frame `begin` to frame `end`, and what is known of it.

    Parameters
    ----------
    window : Window
    samples : ndarray [shape=(n,)], float32
        16 kHz.
    speech : ndarray [shape=(end - begin,)], float32
        Probability of speech in each frame.
    """

    window: Window
    samples: Float32
    speech: Float32


class Cutter:
    """Cuts a stream of samples into windows.

    Parameters
    ----------
    plan : Plan
    frame_samples : int
        Samples of an encoder frame.
    detector : SpeechDetector, optional
    at_once : bool
        As for :class:`~tdt.longform.chunking.Planner`.
    """

    def __init__(
        self, plan: Plan, frame_samples: int, detector: SpeechDetector | None = None, *, at_once: bool = False
    ) -> None:
        self._frame_samples = frame_samples
        self._planner = Planner(plan, at_once=at_once)
        self._detector = detector or SpeechDetector()
        self._mask = SpeechMask()
        self._speech_grid = FrameGrid(FRAME_SAMPLES, frame_samples)
        self._level_grid = FrameGrid(FRAME_SAMPLES, frame_samples)
        self._waiting: Float32 = np.zeros(0, np.float32)
        self._speech: Float32 = np.zeros(0, np.float32)
        self._speech_start = 0  # first frame whose probability is held
        self._held: list[Float32] = []
        self._start = 0  # first sample held
        self._stop = 0  # samples seen

    def pieces(self, blocks: Iterable[Float32]) -> Iterator[Piece]:
        """Yield the windows of a stream [each shape=(n,)], in order.

        Raises
        ------
        AudioReadError
            Where the stream breaks off, once everything before has been given.
        """
        problem: AudioReadError | None = None
        source = iter(blocks)
        while True:
            try:
                block = next(source, None)
            except AudioReadError as error:
                block, problem = None, error
            if block is None:
                break
            self._held.append(block)
            self._stop += len(block)
            for activity in self._detector.feed(block):
                yield from map(self._piece, self._plan(activity))
            self._forget()
        yield from map(self._piece, self._plan(self._detector.flush()))
        yield from map(self._piece, self._rest())
        if problem is not None:
            raise problem

    def _plan(self, activity: Activity) -> Iterator[Window]:
        talk = self._mask.add(self._noted(self._speech_grid.add(activity.speech)))
        return self._planner.add(talk, self._levels(self._level_grid.add(activity.level_db), len(talk)))

    def _noted(self, speech: Float32) -> Float32:
        """Keep the probabilities of the next frames, and hand them on."""
        self._speech = np.concatenate([self._speech, speech])
        return speech

    def _levels(self, level_db: Float32, wanted: int) -> Float32:
        """Return the next `wanted` levels; the mask may decide later than levels are known."""
        self._waiting = np.concatenate([self._waiting, level_db])
        given, self._waiting = self._waiting[:wanted], self._waiting[wanted:]
        return given

    def _rest(self) -> Iterator[Window]:
        """Plan to the last sample: the last frame may be a part of one."""
        missing = max(0, -(-self._stop // self._frame_samples) - self._speech_grid.given)
        talk = self._mask.add(self._noted(np.full(missing, self._speech_grid.last)))
        talk = np.concatenate([talk, self._mask.flush()])
        yield from self._planner.add(talk, self._levels(np.full(missing, self._level_grid.last), len(talk)))
        yield from self._planner.finish()

    def _piece(self, window: Window) -> Piece:
        first = window.begin * self._frame_samples - self._start
        last = min(window.end * self._frame_samples, self._stop) - self._start
        speech = self._speech[window.begin - self._speech_start : window.end - self._speech_start]
        return Piece(window, self._range(first, last), speech)

    def _range(self, first: int, last: int) -> Float32:
        parts, at = [], 0
        for block in self._held:
            if at < last and at + len(block) > first:
                parts.append(block[max(0, first - at) : last - at])
            at += len(block)
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def _forget(self) -> None:
        needed = self._planner.needed * self._frame_samples
        while self._held and self._start + len(self._held[0]) <= needed:
            self._start += len(self._held.pop(0))
        gone = self._planner.needed - self._speech_start
        if gone > 0:
            self._speech, self._speech_start = self._speech[gone:], self._planner.needed
