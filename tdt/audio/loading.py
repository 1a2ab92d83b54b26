"""Audio in: files, bytes, streams and arrays become 16 kHz mono float32 samples, checked once, here."""

from __future__ import annotations

import operator
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tdt.cuda_arrays import as_cupy, on_device
from tdt.errors import (
    AudioNotFoundError,
    AudioReadError,
    AudioTooShortError,
    AudioValueError,
    OptionError,
)
from tdt.spec import HOP_SAMPLES, SAMPLE_RATE_HZ
from tdt.timeline import NULL

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from tdt.timeline import Recorder

    Float32 = npt.NDArray[np.float32]

LOWEST_RATE_HZ = 1000
HIGHEST_RATE_HZ = 1_000_000
# Features square sums of 400 samples in float32; beyond this they could overflow. Full scale is 1.
LARGEST_SAMPLE = 1e12
# 4 GiB of float32, 18 hours at 16 kHz: a small file may unpack to any size.
MAX_SAMPLES = 1 << 30
# A stream may never end.
MAX_STREAM_BYTES = 1 << 32
_CHUNK_BYTES = 1 << 24


@dataclass(frozen=True, slots=True)
class Audio:
    """One clip, ready for the features.

    Parameters
    ----------
    samples : ndarray [shape=(n,)], float32, read-only
        16 kHz, mono, full scale at -1..1. A CuPy array where the source lies on a CUDA device.
    seconds : float
        Length of the source.
    """

    samples: Float32
    seconds: float


def load_audio(
    source: Any, *, sample_rate: int | None = None, channel: int | None = None, timeline: Recorder = NULL
) -> Audio:
    """Read a clip, mix it to one channel and resample it to 16 kHz (soxr HQ, as NeMo's goldens are made).

    Parameters
    ----------
    source : path, bytes, binary file object, or array [shape=(n,) or (n, channels)]
        Everything libsndfile reads; other formats through audioread's decoders (ffmpeg where it is installed). Arrays
        are int16, float32 or float64, of NumPy or anything that speaks DLPack. Those on a CUDA device stay there
        where they are at 16 kHz already, without a copy if mono float32; others are resampled on the host.
    sample_rate : int, optional
        Rate of arrays in Hz; 16000 where not given. Files know theirs.
    channel : int, optional
        The channel to take, from 0. None takes the mean of all.
    timeline : Recorder, optional
        Receives the spans "read" and "resample".

    Returns
    -------
    Audio

    Raises
    ------
    AudioNotFoundError
        The path does not exist or is a folder.
    AudioReadError
        The file cannot be opened, is empty, cut short, or is not audio.
    AudioTooShortError
        Fewer than 160 samples at 16 kHz.
    AudioValueError
        Samples that are not finite, or an array of a shape or type that is not audio.
    OptionError
        `sample_rate` or `channel` out of range.
    """
    name = name_of(source)
    if on_device(source):
        return _from_device(source, name, sample_rate, channel, timeline)
    with timeline.span("read"):
        samples, rate_hz = _read(source, name, sample_rate, channel)
        _check_samples(samples, name)
    seconds = len(samples) / rate_hz
    if rate_hz != SAMPLE_RATE_HZ and len(samples):
        with timeline.span("resample"):
            samples = resample(samples, rate_hz, name)
    if len(samples) < HOP_SAMPLES:
        raise AudioTooShortError(name, len(samples), SAMPLE_RATE_HZ)
    samples = samples.view()
    samples.flags.writeable = False
    return Audio(samples, seconds)


def name_of(source: object) -> str:
    """Return how messages call `source`: its path, or its type."""
    if isinstance(source, (str, Path)):
        return str(source)
    label = getattr(source, "name", None)
    return label if isinstance(label, str) and label else f"<{type(source).__name__}>"


def resample(samples: Float32, rate_hz: int, name: str = "The audio") -> Float32:
    """Resample to 16 kHz exactly as `librosa.resample(..., res_type="soxr_hq")` does, without its slow import.

    Parameters
    ----------
    samples : ndarray [shape=(n,)], float32
    rate_hz : int
        Rate of `samples`.
    name : str, optional
        What errors call the source.

    Returns
    -------
    ndarray [shape=(ceil(n * 16000 / rate_hz),)], float32

    Raises
    ------
    AudioReadError
        The result would be longer than :data:`MAX_SAMPLES`.
    """
    import soxr

    wanted = -(-len(samples) * SAMPLE_RATE_HZ // rate_hz)
    if wanted > MAX_SAMPLES:
        raise _too_large(name)
    made = soxr.resample(samples, rate_hz, SAMPLE_RATE_HZ, quality="HQ")[:wanted]
    return cast("Float32", np.pad(made, (0, wanted - len(made))).astype(np.float32, copy=False))


def as_float32(array: npt.NDArray[Any], name: str) -> Float32:
    """Return an array as float32 [shape=(n, channels)]; int16 is divided by its full scale, 32768.

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
    frames = array[:, None] if array.ndim == 1 else array
    if frames.dtype == np.int16:
        return frames.astype(np.float32) * np.float32(1 / 32768)
    if frames.dtype in {np.dtype(np.float32), np.dtype(np.float64)}:
        with np.errstate(over="ignore"):  # becomes infinite, which is refused with the right words later
            return frames.astype(np.float32, copy=False)
    raise AudioValueError(
        f"{name} holds {array.dtype} samples; int16, float32 or float64 is expected. Convert it, floats to -1..1."
    )


def _from_device(source: Any, name: str, sample_rate: int | None, channel: int | None, timeline: Recorder) -> Audio:
    array = as_cupy(source)
    if sample_rate is not None and _checked_rate(sample_rate) != SAMPLE_RATE_HZ:
        return load_audio(array.get(), sample_rate=sample_rate, channel=channel, timeline=timeline)
    with timeline.span("read", clock="host+sync"):
        samples = _mix([as_float32(array, name)], _checked_channel(channel), name)
        _check_samples(samples, name)
    if len(samples) < HOP_SAMPLES:
        raise AudioTooShortError(name, len(samples), SAMPLE_RATE_HZ)
    return Audio(samples, len(samples) / SAMPLE_RATE_HZ)


def _checked_channel(channel: int | None) -> int | None:
    if channel is not None and (isinstance(channel, bool) or not hasattr(channel, "__index__") or channel < 0):
        raise OptionError("channel", channel, "a channel number from 0, or None for the mean of all channels")
    return channel


def _read(source: Any, name: str, sample_rate: int | None, channel: int | None) -> tuple[Float32, int]:
    _checked_channel(channel)
    array = _as_array(source)
    if array is not None:
        rate_hz = SAMPLE_RATE_HZ if sample_rate is None else _checked_rate(sample_rate)
        return _mix([as_float32(array, name)], channel, name), rate_hz
    from tdt.audio.decoders import open_sound

    with open_sound(_encoded(source, name), name) as sound:
        if not LOWEST_RATE_HZ <= sound.rate_hz <= HIGHEST_RATE_HZ:
            raise AudioReadError(
                f"{name} claims {sound.rate_hz} samples a second; {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} are expected. "
                "Its header is damaged, or it is not sound."
            )
        return _mix(sound.blocks, channel, name), sound.rate_hz


def _as_array(source: Any) -> npt.NDArray[Any] | None:
    """Return `source` as a NumPy array where it is an array, else None."""
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


def _encoded(source: Any, name: str) -> Path | bytes:
    """Return a readable file's path, or the encoded bytes."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    if isinstance(source, (str, Path)):
        return _checked_file(Path(source))
    if hasattr(source, "read"):
        return _drained(source, name)
    raise AudioValueError(
        f"Audio of type {type(source).__name__} cannot be read; expected a path, bytes, a binary file object, or an "
        "array of int16, float32 or float64 samples."
    )


def _drained(stream: Any, name: str) -> bytes:
    parts: list[bytes] = []
    total = 0
    while True:
        try:
            part = stream.read(_CHUNK_BYTES)
        except (OSError, ValueError) as error:
            raise AudioReadError(f"{name} cannot be read: {error}. Pass an open binary file.") from error
        if not isinstance(part, (bytes, bytearray)):
            raise AudioValueError(
                f"{name} gave {type(part).__name__} when it was read; bytes are expected. Open the file in binary mode."
            )
        if not part:
            return parts[0] if len(parts) == 1 else b"".join(parts)
        parts.append(bytes(part))
        total += len(part)
        if total > MAX_STREAM_BYTES:
            raise AudioReadError(f"{name} gave more than {MAX_STREAM_BYTES} bytes; less was expected. Pass a file.")


def _checked_file(path: Path) -> Path:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise AudioNotFoundError(f"{path} does not exist; a sound file was expected. Check the path.") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise AudioReadError(f"{str(path)!r} cannot be opened: {error}. Check the path and its permissions.") from error
    if stat.S_ISDIR(status.st_mode):
        raise AudioNotFoundError(f"{path} is a folder; a sound file was expected. Pass the files in it.")
    if not stat.S_ISREG(status.st_mode):
        raise AudioReadError(f"{path} is a device or a pipe; a regular file was expected. Pass its bytes or a stream.")
    if status.st_size == 0:
        raise AudioReadError(f"{path} is empty (0 bytes); a sound file was expected. Record or download it again.")
    return path


def _checked_rate(rate: object) -> int:
    try:
        hertz = operator.index(rate)  # type: ignore[arg-type]
    except TypeError:
        hertz = 0
    if not LOWEST_RATE_HZ <= hertz <= HIGHEST_RATE_HZ:
        expected = f"a whole number of samples a second from {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ}"
        raise OptionError("sample_rate", rate, expected)
    return hertz


def _mix(blocks: Iterable[Float32], channel: int | None, name: str) -> Float32:
    """Take one channel, or the mean of all, block by block [shape=(n, channels)], so that memory holds one channel."""
    parts: list[Float32] = []
    total = 0
    for block in blocks:
        channels = block.shape[1]
        if channel is not None and channel >= channels:
            raise OptionError("channel", channel, f"0 to {channels - 1}: {name} has {channels} channel(s)")
        if channel is not None or channels == 1:
            column = block[:, channel or 0]
            parts.append(column if column.flags.c_contiguous else column.copy())
        else:
            parts.append(block.mean(axis=1, dtype=np.float32))
        total += len(block)
        if total > MAX_SAMPLES:
            raise _too_large(name)
    return parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, np.float32), *parts])


def _check_samples(samples: Float32, name: str) -> None:
    if len(samples) and not np.abs(samples).max() <= LARGEST_SAMPLE:  # false for NaN, too
        index = int(np.flatnonzero(~(np.abs(samples) <= LARGEST_SAMPLE))[0])
        raise AudioValueError(
            f"{name} holds {samples[index]} at sample {index}; finite samples in about -1..1 are expected. Repair or "
            "rescale the recording."
        )


def _too_large(name: str) -> AudioReadError:
    return AudioReadError(
        f"{name} unpacks to more than {MAX_SAMPLES} samples a channel, 18 hours at 16 kHz; less was expected. "
        "Cut it into pieces."
    )
