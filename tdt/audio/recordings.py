"""Which sources are longer than a window, found out without reading them whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tdt.audio.reader import BlockReader
from tdt.errors import AudioError, OptionError
from tdt.spec import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    import numpy.typing as npt


class Opened(NamedTuple):
    """A long recording as a reader, or a short one as something that can be loaded whole."""

    long: BlockReader | None
    short: Any
    sample_rate: int | None
    channel: int | None
    seconds: float | None = None


def open_source(source: Any, limit_samples: int, sample_rate: int | None = None, channel: int | None = None) -> Opened:
    """Return how a source is to be read.

    Parameters
    ----------
    source : path, bytes, binary file object or ndarray
    limit_samples : int
        16 kHz samples that are still short.
    sample_rate, channel : int, optional
        As for :class:`~tdt.audio.reader.BlockReader`.

    Raises
    ------
    AudioError
        In its kinds, for a stream that cannot be read twice.
    """
    if isinstance(source, os.PathLike):
        source = Path(source)
    seekable = not hasattr(source, "read") or _seekable(source)
    start = source.tell() if hasattr(source, "read") and seekable else 0
    try:
        reader = BlockReader(source, sample_rate=sample_rate, channel=channel)
    except (AudioError, OptionError, OSError):
        if not seekable:
            raise
        if hasattr(source, "read"):
            source.seek(start)
        return Opened(None, source, sample_rate, channel)  # who loads it whole finds the words for what is wrong
    seconds = reader.seconds
    if not seekable or seconds is None:
        if reader.holds_more_than(limit_samples):
            return Opened(reader, None, None, None, seconds)
        return Opened(None, _whole(reader), SAMPLE_RATE_HZ, None, reader.samples_read / SAMPLE_RATE_HZ)
    if seconds * SAMPLE_RATE_HZ > limit_samples:
        return Opened(reader, None, None, None, seconds)
    reader.close()
    if hasattr(source, "read"):
        source.seek(start)
    return Opened(None, source, sample_rate, channel, seconds)


def _seekable(stream: Any) -> bool:
    try:
        return bool(stream.seekable())
    except (AttributeError, OSError, ValueError):
        return False


def _whole(reader: BlockReader) -> npt.NDArray[np.float32]:
    with reader:
        return np.concatenate([np.zeros(0, np.float32), *reader])
