"""Any rate to 16 kHz with soxr HQ: in one piece or block by block, to the same bits and the same length."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from tdt.spec import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]


def resampled_length(samples: int, rate_hz: int) -> int:
    """Return how many samples at 16 kHz stand for so many at another rate."""
    return -(-samples * SAMPLE_RATE_HZ // rate_hz)


def resampled(samples: Float32, rate_hz: int) -> Float32:
    """Resample to 16 kHz exactly as `librosa.resample(..., res_type="soxr_hq")` does, without its slow import.

    Parameters
    ----------
    samples : ndarray [shape=(n,)], float32
    rate_hz : int
        Rate of `samples`.

    Returns
    -------
    ndarray [shape=(ceil(n * 16000 / rate_hz),)], float32
    """
    if rate_hz == SAMPLE_RATE_HZ or not len(samples):
        return samples
    import soxr

    wanted = resampled_length(len(samples), rate_hz)
    made = soxr.resample(samples, rate_hz, SAMPLE_RATE_HZ, quality="HQ")[:wanted]
    return cast("Float32", np.pad(made, (0, wanted - len(made))).astype(np.float32, copy=False))


class Resampler:
    """Resamples a stream.

    Parameters
    ----------
    rate_hz : int
        Rate of the blocks.
    """

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self._taken = self._given = 0
        if rate_hz == SAMPLE_RATE_HZ:
            return
        import soxr

        self._stream = soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")

    def add(self, block: Float32) -> Float32:
        """Take the next block [shape=(n,)]; return what it completes at 16 kHz, perhaps nothing."""
        if self.rate_hz == SAMPLE_RATE_HZ:
            return block
        self._taken += len(block)
        made = cast("Float32", self._stream.resample_chunk(block, last=False))
        self._given += len(made)
        return made

    def finish(self) -> Float32:
        """Return the rest."""
        if not self._taken:
            return np.zeros(0, np.float32)
        made = cast("Float32", self._stream.resample_chunk(np.zeros(0, np.float32), last=True))
        wanted = resampled_length(self._taken, self.rate_hz) - self._given
        return np.pad(made[:wanted], (0, max(0, wanted - len(made))))
