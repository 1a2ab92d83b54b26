"""Formats that are decoded from a pipe as they come: WAV, AU, and FLAC whose encoder did not know its length.

By FFmpeg's libraries, which do not seek where nothing needs it; the samples are libsndfile's to the last bit, as no
rounding is left to a decoder here. All else is read to its end before.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from tdt.audio import formats
from tdt.audio.structure.chunks import (
    RIFFS,
    SLACK_BYTES,
    UNKNOWN_BYTES,
    flac_info,
    frames_of,
    is_name,
    wav_header,
)
from tdt.audio.views import PipeView
from tdt.errors import AudioReadError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tdt.audio.formats import Format
    from tdt.audio.sound import Blocks, Decoding
    from tdt.audio.sources import Pipe

# Who speaks into a pipe should not wait long for the words.
BLOCK_SECONDS = 0.5
# Integers, floats, A-law, µ-law.
_WAV_TAGS = {1, 3, 6, 7}
_REST_BYTES = 1 << 16
_AU_CODES = {1, 2, 3, 4, 5, 6, 7, 27}


class _Start(NamedTuple):
    """What is about to come from a pipe: its format, where its sound begins and, where known, ends, in bytes."""

    fmt: Format
    begin: int = 0
    end: int | None = None
    seconds: float | None = None


@contextmanager
def open_pipe(pipe: Pipe) -> Iterator[Decoding | None]:
    """Open a pipe to be decoded as it comes; None where its format does not allow that, and nothing has been read.

    Raises
    ------
    AudioReadError
        It is damaged at its head.
    """
    start = _start(pipe)
    if start is None:
        yield None
        return
    with ExitStack() as closing:
        file, first = _open(pipe, start, closing)
        yield replace(first, blocks=_blocks(pipe, start, file, first.blocks), seconds=start.seconds)


def _start(pipe: Pipe) -> _Start | None:
    head = pipe.peek(formats.HEAD_BYTES)
    fmt = formats.by_head(head)
    if fmt is formats.WAV:
        return _wav_start(pipe)
    if fmt is formats.AU:
        order: Literal["big", "little"] = "big" if head[:1] == b"." else "little"
        begin, length, code = (int.from_bytes(head[at : at + 4], order) for at in (4, 8, 12))
        return _Start(fmt, begin, begin + length if length < UNKNOWN_BYTES else None) if code in _AU_CODES else None
    if fmt is formats.FLAC:
        rate_and_samples = flac_info(head)
        return _Start(fmt) if rate_and_samples is not None and rate_and_samples[1] == 0 else None
    return None


def _wav_start(pipe: Pipe) -> _Start | None:
    header = wav_header(lambda at, count: pipe.peek(at + count)[at:])
    if header is None or header.tag not in _WAV_TAGS or header.channels == 0:
        return None
    unknown = header.data_bytes >= UNKNOWN_BYTES
    if header.data_bytes == 0:
        unknown = not is_name(pipe.peek(header.data_at + 4)[header.data_at :])
    if unknown:
        return _Start(formats.WAV)
    frames = frames_of(header, header.data_bytes)
    seconds = frames / header.rate_hz if frames is not None and header.rate_hz else None
    return _Start(formats.WAV, header.data_at, header.data_at + header.data_bytes, seconds)


def _open(pipe: Pipe, start: _Start, closing: ExitStack) -> tuple[PipeView, Decoding]:
    from tdt.audio import containers

    file = PipeView(pipe, start.end)
    try:
        opening = containers.open_container(file, start.fmt, pipe.name, block_seconds=BLOCK_SECONDS)
        return file, closing.enter_context(opening)
    except containers.RefusedError as error:
        raise AudioReadError(
            f"{pipe.name} cannot be read as audio ({error}); it begins like {start.fmt.name}. Check what writes to it."
        ) from error


def _blocks(pipe: Pipe, start: _Start, file: PipeView, blocks: Blocks) -> Blocks:
    """Give the blocks of a file from a pipe, then of those that were joined to it."""
    trouble = yield from blocks
    while file.read(_REST_BYTES):  # a part of a block
        pass
    file.check()
    if start.end is None:
        return trouble
    if file.taken + SLACK_BYTES < start.end:
        return f"{max(0, file.taken - start.begin)} of {start.end - start.begin} bytes of sound are there"
    if start.fmt is formats.WAV:
        _pass_chunks(pipe)
    following = _start(pipe) if formats.by_head(pipe.peek(formats.HEAD_BYTES)) is start.fmt else None
    if following is None:
        return trouble
    with ExitStack() as closing:
        more, decoding = _open(pipe, following, closing)
        further = yield from _blocks(pipe, following, more, decoding.blocks)
    return trouble or further


def _pass_chunks(pipe: Pipe) -> None:
    """Pass over the chunks behind the sound of a WAV file, up to the next file where one follows."""
    padded = pipe.peek(5)
    if padded[:1] == b"\0" and (len(padded) == 1 or is_name(padded[1:])):
        pipe.read(1)
    while True:
        head = pipe.peek(12)
        if (head[:4] in RIFFS and head[8:] == b"WAVE") or len(head) < 8 or not is_name(head[:4]):
            return
        left = 8 + int.from_bytes(head[4:8], "little")
        left += left % 2
        while left > 0 and (part := pipe.read(left)):
            left -= len(part)
