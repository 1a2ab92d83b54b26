"""One recording as a stream of final transcripts, whether it is long or short."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from tdt.errors import AudioTailError, TdtError
from tdt.failures import typed
from tdt.reading import label
from tdt.text import Transcript
from tdt.timeline import NULL, Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tdt.audio import BlockReader
    from tdt.longform import LongForm, Pace
    from tdt.pipeline import Stages
    from tdt.reading import Reading


def stream_parts(
    stages: Stages, long_form: LongForm, source: Any, reading: Reading, timeline: Recorder = NULL
) -> Iterator[Transcript]:
    """Yield what becomes final of a recording, in order; a file not longer than a window is one part.

    Parameters
    ----------
    stages : Stages
    long_form : LongForm
        What is longer than a window goes through it.
    source : path, bytes, binary file object, ndarray, or iterable of ndarrays
    reading : Reading
    timeline : Recorder, optional

    Raises
    ------
    AudioError
        In its kinds; :class:`~tdt.errors.AudioTailError` after the parts before the break.
    """
    with typed(label(source), "reading"):
        encoded = isinstance(source, (str, bytes, bytearray, memoryview, os.PathLike)) or hasattr(source, "read")
        live = not encoded and hasattr(source, "__iter__") and not hasattr(source, "__len__")
    opened = reading.open(source, long_form.longest_uncut, wait=not live and not encoded)
    if opened.long and opened.reader is not None:
        pace: Pace = "live" if live else "pipe" if opened.reader.piped else "file"
        yield from _long_parts(long_form, opened.reader, timeline, pace)
        return
    sources: list[Any] = [opened]
    for _, result in stages.results(sources, reading, long_form, timeline):
        if isinstance(result, AudioTailError) and isinstance(result.partial, Transcript):
            yield result.partial
        if isinstance(result, TdtError):
            raise result
        yield result


def _long_parts(long_form: LongForm, reader: BlockReader, timeline: Recorder, pace: Pace) -> Iterator[Transcript]:
    recording = long_form.recording(reader, pace=pace)
    for part in long_form.run([recording], timeline):
        if part.transcript is not None:
            yield part.transcript
    if recording.error is not None:
        raise recording.error
