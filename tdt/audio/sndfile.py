"""libsndfile as a decoder: WAV, FLAC, Ogg, MP3, AIFF, AU, CAF and rarer ones."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import numpy as np

from tdt.audio.ending import Claims
from tdt.audio.sound import Block, Decoding, Track, block_frames
from tdt.audio.views import View
from tdt.dependencies import needed
from tdt.lifetime import after_fork

with needed("soundfile"):
    import soundfile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tdt.audio.sound import Blocks
    from tdt.audio.sources import Encoded
    from tdt.audio.structure.outline import Piece

# What libsndfile says where a header does not know the length.
_UNKNOWN_FRAMES = 0x7FFFFFFF
_OPENING_ERRORS = (soundfile.LibsndfileError, OSError, TypeError, ValueError, OverflowError)
_READING_ERRORS = (soundfile.LibsndfileError, RuntimeError, ValueError, OverflowError)


def _open_lock() -> None:
    """Have python-soundfile open files in a forked process, though a thread elsewhere was in the midst of it."""
    if hasattr(soundfile.SoundFile, "_sf_error_lock"):
        soundfile.SoundFile._sf_error_lock = threading.Lock()


after_fork(_open_lock)


class RefusedError(Exception):
    """Libsndfile does not open this."""


class _Forward(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read from front to back.

    python-soundfile would seek after every read, and the samples of MP3 would depend on where blocks begin.
    """

    def seekable(self) -> bool:
        return False


@contextmanager
def open_piece(source: Encoded, piece: Piece, claimed: int | None) -> Iterator[Decoding]:
    """Open a piece of a source, and close it again.

    Parameters
    ----------
    source : Encoded
    piece : Piece
    claimed : int or None
        Samples a channel that must come.

    Raises
    ------
    RefusedError
        It is nothing that libsndfile knows, or is damaged at its head.
    """
    # Never by its path: libsndfile would take some file endings as headerless sound of any content.
    view = View(source, piece.start, piece.stop)
    try:
        opened = _Forward(view)
    except _OPENING_ERRORS as error:
        view.check()
        raise RefusedError(str(error).split(": ", 1)[-1].strip(" .:") or "damaged at its head") from error
    with opened:
        view.check()
        frames, rate_hz = int(opened.frames), int(opened.samplerate)
        seconds = frames / rate_hz if 0 < frames < _UNKNOWN_FRAMES and rate_hz > 0 else None
        track = Track(0, opened.subtype, rate_hz, int(opened.channels), seconds, default=True)
        yield Decoding(_blocks(opened, view, claimed), (track,), 0, seconds, opened.format)


def _blocks(opened: soundfile.SoundFile, view: View, claimed: int | None) -> Blocks:
    rate_hz, channels = int(opened.samplerate), int(opened.channels)
    size = block_frames(rate_hz, channels)
    start, trouble = 0, ""
    while not trouble:
        buffer = np.zeros((size, channels), np.float32)
        try:
            count = int(opened.buffer_read_into(buffer, dtype="float32"))
        except _READING_ERRORS as error:
            trouble = str(error).strip(" .:") or "its data is damaged"
            count = 0
            with suppress(*_READING_ERRORS):  # what was decoded up to the damage
                count = min(max(0, int(opened.tell()) - start), size)
        view.check()
        if count == 0:
            break
        start += count
        yield Block(rate_hz, buffer[:count])
    return Claims(samples=claimed).problem(start, rate_hz, 0.0, trouble)
