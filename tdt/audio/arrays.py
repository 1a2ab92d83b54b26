"""Arrays as audio: of NumPy or anything that speaks DLPack, int16 or float, one channel or several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.checks import whole_option
from tdt.errors import AudioValueError
from tdt.spec import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]

# Features square sums of 400 samples in float32; beyond this they could overflow. Full scale is 1.
LARGEST_SAMPLE = 1e12


def as_array(source: Any) -> npt.NDArray[Any] | None:
    """Return `source` as a NumPy array where it is an array, else None.

    Raises
    ------
    AudioValueError
        An array that does not lie in host memory.
    """
    if isinstance(source, np.ndarray):
        return source
    if hasattr(source, "__dlpack__"):
        try:
            return np.from_dlpack(source)
        except (BufferError, RuntimeError, TypeError, ValueError) as error:
            raise AudioValueError(
                f"An array of type {type(source).__name__} cannot be taken as audio ({error}); samples in host memory "
                "are expected here. Copy it to the host first."
            ) from error
    return None


def as_float32(array: npt.NDArray[Any], name: str) -> Float32:
    """Return an array as float32 [shape=(n, channels)]; int16 is divided by its full scale, 32768.

    Raises
    ------
    AudioValueError
        A type or shape that is not audio.
    """
    return to_float32(frames_of(array, name))


def frames_of(array: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    """Return an array as [shape=(n, channels)], of a type that can be taken.

    Raises
    ------
    AudioValueError
        A type or shape that is not audio.
    """
    if array.ndim not in {1, 2} or 0 in array.shape[1:]:
        raise AudioValueError(
            f"{name} has shape {array.shape}; samples [n] or [n, channels] are expected. Pass one clip at a time."
        )
    if array.ndim == 2 and array.shape[1] > max(array.shape[0], 1):
        raise AudioValueError(
            f"{name} has shape {array.shape}, more channels than samples; [n, channels] is expected. Transpose it."
        )
    if array.dtype not in {np.dtype(np.int16), np.dtype(np.float32), np.dtype(np.float64)}:
        raise AudioValueError(
            f"{name} holds {array.dtype} samples; int16, float32 or float64 is expected. Convert it, floats to -1..1."
        )
    return array[:, None] if array.ndim == 1 else array


def to_float32(frames: npt.NDArray[Any]) -> Float32:
    """Return samples of int16, float32 or float64 as float32, whole numbers divided by their full scale."""
    if frames.dtype == np.int16:
        return frames.astype(np.float32) * np.float32(1 / 32768)
    with np.errstate(over="ignore"):  # becomes infinite, which is refused with the right words later
        return frames.astype(np.float32, copy=False)


def check_samples(samples: Float32, name: str, before: int = 0) -> float:
    """Return the largest magnitude of samples [shape=(n,)], 0 where there are none.

    Raises
    ------
    AudioValueError
        One is NaN, infinite or huge; it is named by its number, counted from `before` on.
    """
    if not len(samples):
        return 0.0
    peak = float(np.abs(samples).max())
    if peak <= LARGEST_SAMPLE:  # false for NaN, too
        return peak
    index = int(np.flatnonzero(~(np.abs(samples) <= LARGEST_SAMPLE))[0])
    raise AudioValueError(
        f"{name} holds {samples[index]} at sample {before + index}; no samples that are NaN, infinite or huge were "
        "expected, but finite ones in about -1..1. Repair or rescale the recording."
    )


def checked_rate(rate: object) -> int:
    """Return the rate of an array, 16000 where None is given.

    Raises
    ------
    OptionError
        It is none that sound has.
    """
    hertz = whole_option("sample_rate", rate)
    return SAMPLE_RATE_HZ if hertz is None else hertz
