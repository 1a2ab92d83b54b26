"""A recording on its way into the engine: made ready by a reader's thread or, a long one, run by one of its own."""

from __future__ import annotations

import io
import math
from contextlib import closing
from typing import TYPE_CHECKING, Any, BinaryIO

from tdt.errors import AudioTailError, OptionError, RecordingTooLongError, ServerClosedError, TdtError
from tdt.failures import as_typed
from tdt.serving.runs import Entry, SharedEncoder
from tdt.spec import SAMPLE_RATE_HZ
from tdt.text import merged

if TYPE_CHECKING:
    from collections.abc import Callable

    from tdt.audio import Opened
    from tdt.scheduled import Known, Scheduled
    from tdt.serving.runs import Runs


class Source:
    """Encoded sound as it was given.

    Parameters
    ----------
    file : binary file object
    channel, track : int, optional
    name : str
        What errors call it.

    Attributes
    ----------
    gone : bool
        Whether nobody wants its result any more.
    """

    def __init__(self, file: BinaryIO, channel: int | None, track: int | None, name: str) -> None:
        self._file, self.channel, self.track, self.name = file, channel, track, name
        self.gone = False
        self.read, self.seek, self.tell, self.seekable = file.read, file.seek, file.tell, lambda: True


def binary(data: Any) -> BinaryIO:
    """Return a file object; paths and addresses are none: whoever may call does not thereby read this machine's files.

    Raises
    ------
    OptionError
    """
    if isinstance(data, (bytes, bytearray, memoryview)):
        return io.BytesIO(data)
    if hasattr(data, "read"):
        found: BinaryIO = data
        return found
    raise OptionError("data", f"an object of type {type(data).__name__}", "bytes or a binary file object")


def prepared(scheduled: Scheduled, source: Source, known: Known, most_seconds: float = math.inf) -> Entry | LongJob:
    """Open a recording: a short one becomes an entry with its features, a long one a job.

    Raises
    ------
    AudioError
        In its kinds.
    RecordingTooLongError
    """
    if source.gone:
        raise ServerClosedError  # to nobody
    opened = scheduled.open(source, channel=source.channel, track=source.track)
    try:
        _check_length(opened.seconds or 0.0, most_seconds)
        if opened.long:
            return LongJob(scheduled, opened, source, known, most_seconds)
        clip = scheduled.clip(opened)
        _check_length(clip.seconds, most_seconds)
        return Entry(source, scheduled.features(clip), clip.seconds, clip, known)
    except BaseException:
        opened.close()
        raise


def _check_length(seconds: float, most_seconds: float) -> None:
    if seconds > most_seconds:
        raise RecordingTooLongError(most_seconds)


class LongJob:
    """A recording longer than a window.

    Parameters
    ----------
    scheduled : Scheduled
    opened : Opened
    source : Source
    known : Known
    most_seconds : float
    """

    def __init__(self, scheduled: Scheduled, opened: Opened, source: Source, known: Known, most_seconds: float) -> None:
        self._scheduled, self._opened, self._source, self._known = scheduled, opened, source, known
        self._most_seconds = most_seconds
        self._shared: SharedEncoder | None = None

    def share(self, runs: Runs) -> SharedEncoder:
        """Have its windows wait among others; returns what they go through."""
        self._shared = SharedEncoder(runs, self._source)
        return self._shared

    def run(self, tell: Callable[[Any], object]) -> None:
        """Tell each part with the seconds heard so far, as (Transcript or None, float); None at the end.

        Raises
        ------
        TdtError
            Why it ended early; what was recognised before has been told.
        """
        try:
            self._run(tell)
        except Exception as error:
            raise as_typed(error, self._source.name) from error
        finally:
            tell(None)

    def _run(self, tell: Callable[[Any], object]) -> None:
        shared, opened = self._shared, self._opened
        assert shared is not None
        assert opened.reader is not None
        if shared.is_gone():
            opened.close()
            return
        error: TdtError | None = None
        told = []
        with closing(self._scheduled.parts(opened, shared, self._known)) as parts:
            for part in parts:
                if shared.is_gone():
                    return
                if part.transcript is not None:
                    told.append(part.transcript)
                tell((part.transcript, part.recording.seconds))
                error = part.recording.error
                _check_length(opened.reader.samples_read / SAMPLE_RATE_HZ, self._most_seconds)
                if error is not None and not isinstance(error, AudioTailError):
                    break
        if isinstance(error, AudioTailError):
            error.partial = merged(told, part.recording.seconds)
        if error is not None:
            raise error
