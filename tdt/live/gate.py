"""Whether anybody speaks in a window: where nobody does, the encoder need not run. An option, since it changes results.

The detector hears frames of 32 ms once, in order, with its state carried. What it takes for silence is passed over as
blanks would be: words that the model would have found there are lost, and so are those it would have made of noise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from tdt.spec import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from tdt.live.windowing import Window
    from tdt.stages import Float32

FRAME_SAMPLES = 512
# Half of the usual threshold: a run in vain costs time, one left out costs words.
SPEECH = 0.25
# Before the chunk this must be silent, too: the last word and its full stop may be decoded as late.
MARGIN_SAMPLES = SAMPLE_RATE_HZ
# Three steps of 16-bit audio: below it there is nothing to ask about.
SILENCE_DB = -80.0
# A quiet stream is raised towards this level, as the detector was trained on usual ones; what was loud is forgotten.
TARGET_DB = -20.0
MOST_GAIN_DB = 40.0
FORGOTTEN_DB_A_SECOND = 0.125


class Detector(Protocol):
    """The detector on one stream, its state carried."""

    def hear(self, frames: Float32, gain: np.float32) -> Float32:
        """Return the probability of speech in each of the next frames [shape=(n, 512)], raised by a gain."""
        ...

    def pass_over(self, frames: Float32) -> None:
        """Take frames for silence without asking."""
        ...


class SpeechGate:
    """Follows one stream.

    Parameters
    ----------
    detector : Detector
        One that has heard nothing yet.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._heard = 0  # samples, whole frames
        self._level_db = -np.inf
        self._spoken_until = -MARGIN_SAMPLES  # sample at which the last frame with speech ended

    def is_silent(self, window: Window) -> bool:
        """Hear what a window has that is new; say whether its chunk, its right context and a second before have none.

        Parameters
        ----------
        window : Window
            The next one of the stream.
        """
        first = window.start - window.left
        new = window.samples[self._heard - first :]
        frames = new[: len(new) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
        if window.last and len(new) % FRAME_SAMPLES:
            rest = np.pad(new[frames.size :], (0, FRAME_SAMPLES - len(new) % FRAME_SAMPLES))
            frames = np.concatenate([frames, rest[None]])
        if len(frames):
            spoken = np.flatnonzero(self._detect(frames) >= SPEECH)
            if len(spoken):
                self._spoken_until = self._heard + (int(spoken[-1]) + 1) * FRAME_SAMPLES
            self._heard += frames.size
        return self._spoken_until <= window.start - MARGIN_SAMPLES

    def _detect(self, frames: Float32) -> Float32:
        """Return the probability of speech of frames [shape=(n, 512)]."""
        power = np.maximum(np.mean(np.square(frames, dtype=np.float64), axis=1), 1e-20)
        loudest_db = 10 * np.log10(power.max())
        seconds = frames.size / SAMPLE_RATE_HZ
        self._level_db = max(self._level_db - FORGOTTEN_DB_A_SECOND * seconds, loudest_db)
        if loudest_db < SILENCE_DB:
            self._detector.pass_over(frames)
            return np.zeros(len(frames), np.float32)
        gain = np.float32(10 ** (min(max(TARGET_DB - self._level_db, -MOST_GAIN_DB), MOST_GAIN_DB) / 20))
        return self._detector.hear(frames, gain)
