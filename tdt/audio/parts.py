"""A part of a source, from one second to another: sought where the format can, else read up to it and dropped."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from tdt.audio import formats
from tdt.audio.ending import SLACK_SECONDS, BreakOffError
from tdt.audio.sound import Block
from tdt.audio.structure.chunks import flac_info
from tdt.audio.structure.frames import skip_id3
from tdt.audio.structure.outline import Piece
from tdt.audio.structure.tags import end_of_sound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tdt.audio.sound import Blocks
    from tdt.audio.sources import Encoded

# Where to seek is exact: samples of a fixed size, and FLAC. Lossy decoders give other samples after a seek.
_SEEKABLE = ("WAV", "AU", "FLAC", "W64", "CAF", "AIFF")


class Part(NamedTuple):
    """From `offset` seconds on, `seconds` of them; to the end where that is None.

    It begins at the sample nearest to its offset at the source's own rate, and holds the samples nearest to its length.
    """

    offset: float = 0.0
    seconds: float | None = None

    def samples(self, rate_hz: int) -> tuple[int, int | None]:
        """Return the number of its first sample, and how many it holds (None: all that follow)."""
        return round(self.offset * rate_hz), None if self.seconds is None else max(1, round(self.seconds * rate_hz))

    @property
    def whole(self) -> bool:
        """Whether it is all there is."""
        return self.offset <= 0 and self.seconds is None


def cut(blocks: Iterator[Block], part: Part) -> Iterator[Block]:
    """Yield what a part holds of the blocks of a source; what follows is not read.

    Raises
    ------
    BreakOffError
        The source ends half a second or more before the part does.
    """
    at, rate_hz = 0, 0
    for block in blocks:
        if rate_hz and block.rate_hz != rate_hz:
            at = round(at * block.rate_hz / rate_hz)
        rate_hz = block.rate_hz
        start, count = part.samples(rate_hz)
        held = block.samples[max(0, start - at) : None if count is None else max(0, start + count - at)]
        at += len(block.samples)
        if len(held):
            yield Block(rate_hz, held)
        if count is not None and at >= start + count:
            return
    start, count = part.samples(rate_hz)
    end = start + (count or 1)
    if rate_hz and at < end - SLACK_SECONDS * rate_hz:
        raise BreakOffError(f"{at / rate_hz:.1f} of {end / rate_hz:.1f} s are there")


@contextmanager
def open_part(source: Encoded, part: Part) -> Iterator[Iterator[Block] | None]:
    """Open a part of a file by seeking, and close it again.

    Yields
    ------
    iterator of Block, or None
        None where its format cannot seek to a sample, or where the part is not wholly in what the header promises.
    """
    piece = _piece(source)
    if piece is None:
        yield None
        return
    from tdt.audio import sndfile

    try:
        with sndfile.open_range(source, piece, part.samples) as blocks:
            yield None if blocks is None else _ended(blocks)
    except sndfile.RefusedError:
        yield None


def _ended(blocks: Blocks) -> Iterator[Block]:
    problem = yield from blocks
    if problem:
        raise BreakOffError(problem)


def _piece(source: Encoded) -> Piece | None:
    """Return the file that a source is, where it is one alone that can be sought in; no FLAC is read through for it."""
    fmt = formats.sniff(source)
    if fmt.name not in _SEEKABLE:
        return None
    if fmt.name == "FLAC":
        rate_hz, frames = flac_info(source.read_at(skip_id3(source), 42)) or (0, 0)
        return Piece(0, source.size, frames, rate_hz) if rate_hz and frames else None
    source.trim(end_of_sound(source))
    outline = fmt.walk(source)
    alone = len(outline.pieces) == 1 and not outline.pieces[0].ffmpeg and not outline.problem
    return outline.pieces[0] if alone else None
