"""Hum, tones and offset taken out of what the speech detector hears, where they would drown the speech.

Only there: features are made of the recording as it is, and the encoder hears speech that lies 35 dB below a hum.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from tdt.longform.levels import FRAME_SAMPLES, levels, loudest

if TYPE_CHECKING:
    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]

# Short-time spectra of 128 ms tell the harmonics of a mains hum apart.
WINDOW = 2048
HOP = WINDOW // 2
# No speech below (94 Hz): offset and rumble.
LOWEST_BIN = 12
# In each bin, one moment of five is a pause or lies between two syllables. Where every second one is hardly louder, a
# tone sounds all the time; noise moves by 5 dB. Twice as much is taken off, as tone and speech add up by their phases.
PAUSE_SHARE = 0.2
STEADY_DB = 2.5
TAKEN = 2.0
# Where so much of the loudest frames goes, something else than a voice was loud: of 58 clips of 13 voices goes 0.2 dB
# at most. The detector begins to miss words, or takes a buzz for speech, where 10 dB would go.
DROWNED_DB = 3.0
# Asked first, as it costs little: so far the differences of neighbouring samples lie below the samples of what is below
# 800 Hz. Many voices do, noise does not.
STEEP_DB = 8.0


class HumRemover:
    """Goes through a stream in blocks long enough to hold pauses; the last one may be of any length."""

    def __init__(self) -> None:
        self._before: Float32 = np.zeros(0, np.float32)
        self._floor: Float32 | None = None
        self._drowned = False

    def __call__(self, samples: Float32, *, whole: bool) -> Float32:
        """Return a block as it is, or without what drowns the speech in it.

        Parameters
        ----------
        samples : ndarray [shape=(n,), n > 0], float32
            16 kHz.
        whole : bool
            Whether the block is long enough to learn from what is there all the time.
        """
        before, self._before = self._before, samples[-WINDOW:].copy()
        frames = _frames(samples)
        if len(frames):  # else it goes as the block before
            level_db = loudest(levels(frames))
            self._drowned = level_db - loudest(levels(np.diff(frames, axis=1))) >= STEEP_DB
        if not self._drowned:
            return samples
        cleared = self._cleared(before, samples, learn=whole or self._floor is None)
        if len(frames):
            self._drowned = level_db - loudest(levels(_frames(cleared))) >= DROWNED_DB
        return cleared if self._drowned else samples

    def _cleared(self, before: Float32, samples: Float32, *, learn: bool) -> Float32:
        spectra = _spectra(before, samples)
        strength = np.abs(spectra)
        if learn or self._floor is None:
            self._floor = _always_there(strength)
        left = np.maximum(strength - np.float32(TAKEN) * self._floor, 0)
        left[:, :LOWEST_BIN] = 0
        # Where the sound is mirrored, a hum is not what it was: there is no more than in the nearest window without.
        last = len(samples) // HOP
        left[last + 1 :] = np.minimum(left[last + 1 :], left[last])
        if len(before) < WINDOW:
            left[:2] = np.minimum(left[:2], left[2])
        kept = left / np.maximum(strength, np.float32(1e-20))
        return _joined(spectra * kept)[: len(samples)]


def _frames(samples: Float32) -> Float32:
    return samples[: len(samples) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)


def _always_there(strength: Float32) -> Float32:
    """Return how strong the tone is that sounds all the time in each bin [of shape=(frames, bins)]; 0 for none."""
    quiet, middle = int(PAUSE_SHARE * len(strength)), len(strength) // 2
    ordered = np.partition(strength, (quiet, middle), axis=0)
    tone: Float32 = np.where(ordered[middle] < ordered[quiet] * np.float32(10 ** (STEADY_DB / 20)), ordered[quiet], 0)
    return tone


def _spectra(before: Float32, samples: Float32) -> npt.NDArray[np.complex64]:
    """Return windowed spectra [shape=(frames, WINDOW // 2 + 1)] of samples and a window's length on each side."""
    joined = np.concatenate([before, samples])
    # Mirrored in the last sample, so that a hum goes on with hardly a click.
    around = (WINDOW - len(before), WINDOW + -len(samples) % HOP)
    padded = np.pad(joined, around, mode="reflect", reflect_type="odd")
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    return np.fft.rfft(windows * _window(), axis=1).astype(np.complex64, copy=False)


def _joined(spectra: npt.NDArray[np.complex64]) -> Float32:
    """Return the samples after the first window of spectra that overlap by half."""
    parts = np.fft.irfft(spectra, axis=1).reshape(-1, WINDOW // HOP, HOP)
    made = np.zeros((len(parts) + WINDOW // HOP - 1, HOP), np.float32)
    for place in range(WINDOW // HOP):
        made[place : place + len(parts)] += parts[:, place]
    return made.reshape(-1)[WINDOW:]


@cache
def _window() -> Float32:
    """Return a Hann window: those that overlap by half add up to one."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)
