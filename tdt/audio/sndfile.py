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
    from collections.abc import Callable, Iterator

    from tdt.audio.sound import Blocks
    from tdt.audio.sources import Encoded
    from tdt.audio.structure.outline import Piece

# What libsndfile says where a header does not know the length.
_UNKNOWN_FRAMES = 0x7FFFFFFF
# Codings whose samples are of one size, or are found exactly by their number (FLAC's are called PCM, too).
_FIXED = ("PCM_", "FLOAT", "DOUBLE", "ULAW", "ALAW")
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
    with _opened(source, piece) as (opened, view):
        frames, rate_hz = int(opened.frames), int(opened.samplerate)
        seconds = frames / rate_hz if 0 < frames < _UNKNOWN_FRAMES and rate_hz > 0 else None
        track = Track(0, opened.subtype, rate_hz, int(opened.channels), seconds, default=True)
        yield Decoding(_blocks(opened, view, claimed), (track,), 0, seconds, opened.format)


@contextmanager
def open_range(
    source: Encoded, piece: Piece, wanted: Callable[[int], tuple[int, int | None]]
) -> Iterator[Blocks | None]:
    """Open a piece of a source at one of its samples, and close it again.

    Parameters
    ----------
    source : Encoded
    piece : Piece
    wanted : callable
        Given the rate, returns the first sample and how many; None for all that follow.

    Yields
    ------
    Blocks or None
        None where its header does not promise all that is wanted, or its samples are not of a fixed size.

    Raises
    ------
    RefusedError
        It is nothing that libsndfile knows, or is damaged at its head.
    """
    with _opened(source, piece) as (opened, view):
        start, count = wanted(int(opened.samplerate))
        frames = int(opened.frames)
        promised = 0 <= start < frames < _UNKNOWN_FRAMES and (count is None or start + count <= frames)
        if not promised or not opened.subtype.startswith(_FIXED):
            yield None
            return
        try:
            opened.seek(start)
        except _READING_ERRORS:  # damaged before
            yield None
            return
        yield _blocks(opened, view, frames - start if count is None else count, start, count)


@contextmanager
def _opened(source: Encoded, piece: Piece) -> Iterator[tuple[soundfile.SoundFile, View]]:
    # Never by its path: libsndfile would take some file endings as headerless sound of any content.
    view = View(source, piece.start, piece.stop)
    try:
        opened = _Forward(view)
    except _OPENING_ERRORS as error:
        view.check()
        raise RefusedError(str(error).split(": ", 1)[-1].strip(" .:") or "damaged at its head") from error
    with opened:
        view.check()
        yield opened, view


def _blocks(
    opened: soundfile.SoundFile, view: View, claimed: int | None, first: int = 0, most: int | None = None
) -> Blocks:
    """Give the blocks from where the file stands, at sample `first`, and `most` samples of it."""
    rate_hz, channels = int(opened.samplerate), int(opened.channels)
    size = block_frames(rate_hz, channels)
    start, trouble = 0, ""
    while not trouble and (most is None or start < most):
        buffer = np.zeros((size if most is None else min(size, most - start), channels), np.float32)
        try:
            count = int(opened.buffer_read_into(buffer, dtype="float32"))
        except _READING_ERRORS as error:
            trouble = str(error).strip(" .:") or "its data is damaged"
            count = 0
            with suppress(*_READING_ERRORS):  # what was decoded up to the damage
                count = min(max(0, int(opened.tell()) - first - start), len(buffer))
        view.check()
        if count == 0:
            break
        start += count
        yield Block(rate_hz, buffer[:count])
    return Claims(samples=claimed).problem(start, rate_hz, 0.0, trouble)
