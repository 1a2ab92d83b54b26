"""Encoded sound as a stream of blocks: the format decides which decoder takes it, piece by piece where it is joined.

libsndfile takes what it reads well, FFmpeg's libraries the rest; `tools/readme/audio-formats.md` has the table.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tdt.audio import formats
from tdt.audio.ending import BreakOffError, unpacks_without_end
from tdt.audio.pipes import open_pipe
from tdt.audio.sources import Encoded, Pipe
from tdt.audio.structure.chunks import wav_header
from tdt.audio.structure.tags import end_of_sound
from tdt.audio.views import View
from tdt.checks import WHOLE
from tdt.errors import AudioReadError, OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tdt.audio.formats import Format
    from tdt.audio.sound import Block, Blocks, Decoding, Track
    from tdt.audio.structure.outline import Outline, Piece

_log = logging.getLogger("tdt")


@dataclass(frozen=True, slots=True)
class Sound:
    """An opened source.

    Parameters
    ----------
    container : str
        Its format.
    tracks : tuple of Track
    track : int
        The one that is decoded.
    seconds : float or None
        Length that the source claims; None where it does not say.
    files : int
        How many files it is joined of.
    problem : str
        What is missing at its end, as far as that is known before decoding.
    piped : bool
        Whether it comes from a pipe as it is written there.
    blocks : iterator of Block
        Raises BreakOffError at its end where the source broke off.
    """

    container: str
    tracks: tuple[Track, ...]
    track: int
    seconds: float | None
    files: int
    problem: str
    blocks: Iterator[Block]
    piped: bool = False


@contextmanager
def open_sound(source: Encoded | Pipe, track: int | None = None) -> Iterator[Sound]:
    """Open encoded sound and close it again.

    Parameters
    ----------
    source : Encoded or Pipe
        A pipe is decoded as it comes where its format allows, and read to its end first where not.
    track : int, optional
        Which audio track, from 0; the default one where not given.

    Yields
    ------
    Sound

    Raises
    ------
    AudioReadError
        Nothing here decodes it.
    OptionError
        There is no such track.
    """
    with ExitStack() as closing:
        if isinstance(source, Pipe):
            decoding = closing.enter_context(open_pipe(source))
            if decoding is not None:
                _only_track(source.name, track)
                yield replace(_sound(source.name, decoding, decoding.container, _ended(decoding.blocks)), piped=True)
                return
            source = source.spooled()
            closing.callback(source.close)
        yield _open_encoded(source, track, closing)


def _open_encoded(source: Encoded, track: int | None, closing: ExitStack) -> Sound:
    source.trim(end_of_sound(source))
    fmt = formats.sniff(source)
    outline = fmt.walk(source)
    if outline.note:
        _log.warning("%s: %s", source.name, outline.note)
    try:
        first = _open_piece(source, outline.pieces[0], fmt, track, closing)
    except _RefusedError as error:
        raise AudioReadError(
            f"{source.name} cannot be read as audio ({outline.problem or error}); WAV, FLAC, OGG, MP3, M4A or another "
            "sound file was expected. Check that it is complete and is sound."
        ) from error
    blocks = _bounded(_ended(_joined(source, fmt, outline, track, first)), source)
    sound = _sound(source.name, first, fmt.name if fmt.demuxer else first.container, blocks)
    known = outline.seconds is not None or len(outline.pieces) > 1
    files = 1 if fmt.frames else len(outline.pieces)
    seconds = outline.seconds if known else first.seconds
    return replace(sound, seconds=seconds, files=files, problem=outline.problem)


class _RefusedError(Exception):
    """No decoder opens this."""


def _open_piece(source: Encoded, piece: Piece, fmt: Format, track: int | None, closing: ExitStack) -> Decoding:
    """Open a piece with the decoder for it, and with the other where that one refuses."""
    if fmt is formats.WAV:
        _check_wav(source, piece)
    refused = ""
    if fmt.sndfile and not piece.ffmpeg:
        from tdt.audio import sndfile

        try:
            opened = closing.enter_context(sndfile.open_piece(source, piece, piece.frames if fmt.exact else None))
        except sndfile.RefusedError as error:
            refused = str(error)
        else:
            _only_track(source.name, track)
            return opened
    if not fmt.demuxer:
        raise _RefusedError(refused or "its first bytes are those of no format known here")
    from tdt.audio import containers

    try:
        file = View(source, piece.start, piece.stop)
        return closing.enter_context(containers.open_container(file, fmt, source.name, track))
    except containers.RefusedError as error:
        raise _RefusedError(str(error)) from error


def _only_track(name: str, track: int | None) -> None:
    if track:
        raise OptionError("track", track, f"0: {name} has one audio track")


def _check_wav(source: Encoded, piece: Piece) -> None:
    header = wav_header(source.read_at, piece.start)
    if header is None:
        return
    check_rate(header.rate_hz, source.name)
    if header.channels == 0:
        raise AudioReadError(
            f"{source.name} claims 0 channels; one or more were expected. Its header is damaged: record or export it "
            "again."
        )


def _joined(source: Encoded, fmt: Format, outline: Outline, track: int | None, first: Decoding) -> Blocks:
    """Give the blocks of all pieces; what is wrong with one does not cost the others.

    Where a stream of frames goes on behind junk, the frame before it is damaged, and no break.
    """
    troubles = [(yield from first.blocks)]
    for piece in outline.pieces[1:]:
        with ExitStack() as closing:
            try:
                troubles.append((yield from _open_piece(source, piece, fmt, track, closing).blocks))
            except _RefusedError as error:
                troubles.append(f"what was joined to it at byte {piece.start} cannot be read: {error}")
    return outline.problem or next(filter(None, troubles[-1:] if fmt.frames else troubles), "")


def _ended(blocks: Blocks) -> Iterator[Block]:
    """Give the blocks, and say it where they broke off."""
    problem = yield from blocks
    if problem:
        raise BreakOffError(problem)


def _bounded(blocks: Iterator[Block], source: Encoded) -> Iterator[Block]:
    """Give the blocks of a file until they are more than so few bytes can hold."""
    seconds = 0.0
    for block in blocks:
        seconds += len(block.samples) / max(block.rate_hz, 1)
        if unpacks_without_end(seconds, source.size):
            raise BreakOffError(f"{source.size} bytes unpack to more than {seconds / 3600:.0f} hours of sound")
        yield block


def _sound(name: str, first: Decoding, container: str, blocks: Iterator[Block]) -> Sound:
    rate_hz = first.tracks[first.track].rate_hz
    if rate_hz:
        check_rate(rate_hz, name)
    blocks = _of_usual_rates(blocks, name)
    return Sound(container, first.tracks, first.track, first.seconds, files=1, problem="", blocks=blocks)


def _of_usual_rates(blocks: Iterator[Block], name: str) -> Iterator[Block]:
    for block in blocks:
        check_rate(block.rate_hz, name)
        yield block


def check_rate(rate_hz: int, name: str) -> None:
    """Refuse a rate that no sound has.

    Raises
    ------
    AudioReadError
        It is out of range.
    """
    least, most, _ = WHOLE["sample_rate"]
    if not least <= rate_hz <= most:
        raise AudioReadError(
            f"{name} claims {rate_hz} samples a second; {least} to {most} are expected. "
            "Its header is damaged, or it is not sound."
        )
