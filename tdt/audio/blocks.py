"""One block of a stream whose blocks come one by one, of any length: checked whole, mixed to one channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.audio.arrays import as_array, check_samples, frames_of, to_float32
from tdt.audio.mixing import mixed
from tdt.errors import AudioValueError

if TYPE_CHECKING:
    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]

# A block may be one sample of several channels. Beyond so many, channels and samples have changed places.
_MOST_CHANNELS_OF_A_FEW_SAMPLES = 8


class BlockMixer:
    """Turns the blocks of a stream into mono samples; one that is refused leaves no trace.

    Parameters
    ----------
    name : str
        What errors call the stream.
    channel : int, optional
        The channel to take, from 0; the mean of all where not given.
    """

    def __init__(self, name: str, channel: int | None = None) -> None:
        self._name, self._channel = name, channel
        self._channels = 0  # not known yet
        self._taken = 0

    def mono(self, block: Any) -> Float32:
        """Return the samples of a block as float32 [shape=(n,)], full scale at -1..1: its own memory.

        Parameters
        ----------
        block : array [shape=(n,) or (n, channels)], int16, float32 or float64
            Of NumPy, or anything in host memory that speaks DLPack. All blocks have the same channels.

        Raises
        ------
        AudioValueError
            It is no such array, or holds NaN, infinite or huge samples.
        OptionError
            There is no such channel.
        """
        array = as_array(block)
        if array is None:
            raise AudioValueError(
                f"{self._name} was given {type(block).__name__}; arrays of int16, float32 or float64 samples are "
                "expected. Convert it: numpy.asarray(samples, numpy.float32)."
            )
        few = array.ndim == 2 and array.shape[0] < array.shape[1] <= _MOST_CHANNELS_OF_A_FEW_SAMPLES
        checked = frames_of(np.zeros((1, 1), array.dtype) if few else array, self._name)
        frames = array if few else checked
        if self._channels and frames.shape[1] != self._channels:
            raise AudioValueError(
                f"{self._name} was given a block of {frames.shape[1]} channels after blocks of {self._channels}; the "
                "same number is expected throughout. Open another stream for it."
            )
        samples = mixed(to_float32(frames), self._channel, self._name)
        check_samples(samples, self._name, self._taken)
        self._channels = frames.shape[1] if len(samples) else self._channels
        self._taken += len(samples)
        return samples.copy() if np.may_share_memory(samples, array) else samples
