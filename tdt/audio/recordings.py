"""Which sources are longer than a window, found out without reading them whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tdt.audio.loading import load_audio
from tdt.audio.reader import BlockReader
from tdt.cuda_arrays import on_device
from tdt.spec import SAMPLE_RATE_HZ
from tdt.timeline import NULL

if TYPE_CHECKING:
    from tdt.audio.clip import Audio
    from tdt.audio.parts import Part
    from tdt.errors import AudioTailError
    from tdt.timeline import Recorder


# Times real time. What decodes a file is faster, who speaks or plays is slower.
LIVE_SPEED = 20.0


class Opened(NamedTuple):
    """A source that has been opened: whether it is longer than a window, and its reader, or what it was on a device."""

    reader: BlockReader | None
    long: bool = False
    audio: Audio | None = None

    @property
    def seconds(self) -> float | None:
        """Its length, where it says."""
        holder = self.reader if self.audio is None else self.audio
        return None if holder is None else holder.seconds

    def load(self, timeline: Recorder = NULL) -> tuple[Audio, AudioTailError | None]:
        """Return all of it as one clip, and the error that it breaks off where it does; it is closed.

        Raises
        ------
        AudioError
            In its kinds.
        """
        if self.audio is not None:
            return self.audio, None
        assert self.reader is not None
        return self.reader.load(timeline)

    def close(self) -> None:
        """Close it unread."""
        if self.reader is not None:
            self.reader.close()


def open_source(
    source: Any,
    limit_samples: int,
    *,
    sample_rate: int | None = None,
    channel: int | None = None,
    track: int | None = None,
    part: Part | None = None,
    name: str | None = None,
    wait: bool = True,
) -> Opened:
    """Open a source and find out whether it is longer than a window; nothing is decoded twice.

    Parameters
    ----------
    source : path, bytes, binary file object or array
    limit_samples : int
        16 kHz samples that are still short.
    sample_rate, channel, track, part, name : optional
        As for :class:`~tdt.audio.reader.BlockReader`.
    wait : bool
        Wait until it is known how long it is. Else what comes from a pipe, or does not say its length, is taken for a
        long one where it comes slower than :data:`LIVE_SPEED`, so that its first words need not wait.

    Raises
    ------
    AudioError
        In its kinds.
    OptionError
        An option out of range.
    """
    if isinstance(source, os.PathLike):
        source = Path(source)
    if on_device(source):
        audio = load_audio(source, sample_rate=sample_rate, channel=channel)
        if len(audio.samples) <= limit_samples:
            return Opened(None, audio=audio)
        return Opened(BlockReader(audio.samples.get()), long=True)  # type: ignore[attr-defined]  # CuPy's
    reader = BlockReader(source, sample_rate=sample_rate, channel=channel, track=track, part=part, name=name)
    try:
        claimed = 0.0 if reader.seconds is None else reader.seconds
        # What claims to be short is believed when it has been read.
        known = wait or (reader.seconds is not None and not reader.piped)
        return Opened(
            reader,
            claimed * SAMPLE_RATE_HZ > limit_samples
            or reader.holds_more_than(limit_samples, least_speed=0.0 if known else LIVE_SPEED),
        )
    except BaseException:
        reader.close()
        raise
