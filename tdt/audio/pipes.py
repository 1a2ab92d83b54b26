"""Formats that are decoded from a pipe as they come: WAV and AU, and FLAC whose encoder did not know its length.

The samples are libsndfile's to the last bit: no rounding is left to a decoder here. All else is read to its end first.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Literal, NamedTuple

from tdt.audio import formats
from tdt.audio.pcm import Coding, au_coding, wav_coding
from tdt.audio.sound import Block, Decoding, Track, block_frames
from tdt.audio.structure.chunks import (
    RIFFS,
    SLACK_BYTES,
    UNKNOWN_BYTES,
    flac_info,
    is_name,
    wav_header,
)
from tdt.audio.views import PipeView
from tdt.errors import AudioReadError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tdt.audio.formats import Format
    from tdt.audio.sound import Blocks
    from tdt.audio.sources import Pipe

# Who speaks into a pipe should not wait long for the words.
BLOCK_SECONDS = 0.5
_AU_BYTES = 24


class _Plain(NamedTuple):
    """What is about to come from a pipe: format and coding, and the bytes of its header and, where known, its sound."""

    fmt: Format
    coding: Coding
    rate_hz: int
    head_bytes: int
    sound_bytes: int | None

    def decoding(self, blocks: Blocks) -> Decoding:
        """Return it with its blocks."""
        frames = None if self.sound_bytes is None else self.sound_bytes // self.coding.frame_bytes
        seconds = frames / self.rate_hz if frames is not None and self.rate_hz else None
        codec = f"{self.coding.kind} of {8 * self.coding.sample_bytes} bits"
        track = Track(0, codec, self.rate_hz, self.coding.channels, seconds, default=True)
        return Decoding(blocks, (track,), 0, seconds, self.fmt.name)


@contextmanager
def open_pipe(pipe: Pipe) -> Iterator[Decoding | None]:
    """Open a pipe to be decoded as it comes; None where its format does not allow that, and nothing has been read.

    Raises
    ------
    AudioReadError
        It is damaged at its head.
    """
    plain = _plain(pipe)
    if plain is not None:
        yield plain.decoding(_blocks(pipe, plain))
        return
    head = pipe.peek(formats.HEAD_BYTES)
    known = flac_info(head) if formats.by_head(head) is formats.FLAC else None
    if known is None or known[1] > 0:
        yield None
        return
    from tdt.audio import containers

    with ExitStack() as closing:
        try:
            opening = containers.open_container(PipeView(pipe), formats.FLAC, pipe.name, block_seconds=BLOCK_SECONDS)
            decoding = closing.enter_context(opening)
        except containers.RefusedError as error:
            raise AudioReadError(
                f"{pipe.name} cannot be read as audio ({error}); FLAC was expected by its first bytes. Check what "
                "writes to it."
            ) from error
        yield decoding


def _plain(pipe: Pipe) -> _Plain | None:
    """Return what comes next, where that is WAV or AU of plain samples."""
    head = pipe.peek(formats.HEAD_BYTES)
    fmt = formats.by_head(head)
    if fmt is formats.WAV:
        return _wav(pipe, head[:4])
    if fmt is not formats.AU or len(head) < _AU_BYTES:
        return None
    order: Literal["big", "little"] = "big" if head[:1] == b"." else "little"
    begin, length, code, rate_hz, channels = (int.from_bytes(head[at : at + 4], order) for at in range(4, 24, 4))
    coding = au_coding(code, channels, ">" if order == "big" else "<")
    if coding is None:
        return None
    return _Plain(fmt, coding, rate_hz, begin, length if length < UNKNOWN_BYTES else None)


def _wav(pipe: Pipe, riff: bytes) -> _Plain | None:
    header = wav_header(lambda at, count: pipe.peek(at + count)[at:])
    if header is None:
        return None
    order = ">" if riff == b"RIFX" else "<"
    coding = wav_coding(header.tag, header.bits, header.block_bytes, header.channels, order)
    if coding is None:
        return None
    length: int | None = header.data_bytes
    if header.data_bytes == 0 and not is_name(pipe.peek(header.data_at + 4)[header.data_at :]):
        length = None  # never finished
    elif header.data_bytes >= UNKNOWN_BYTES and header.riff != b"RF64":
        length = None
    return _Plain(formats.WAV, coding, header.rate_hz, header.data_at, length)


def _blocks(pipe: Pipe, plain: _Plain) -> Blocks:
    """Give the blocks of a file from a pipe, then of those that were joined to it."""
    following: _Plain | None = plain
    while following is not None:
        plain = following
        if not pipe.skip(plain.head_bytes):
            return "its header is cut off"
        view = PipeView(pipe, plain.sound_bytes)
        size = block_frames(plain.rate_hz, plain.coding.channels, BLOCK_SECONDS) * plain.coding.frame_bytes
        rest = b""
        while part := view.read(size):
            rest += part
            samples = plain.coding.decode(rest)
            rest = rest[len(samples) * plain.coding.frame_bytes :]
            if len(samples):
                yield Block(plain.rate_hz, samples)
        view.check()
        if plain.sound_bytes is None:
            return ""
        if view.taken + SLACK_BYTES < plain.sound_bytes:
            return f"{view.taken} of {plain.sound_bytes} bytes of sound are there"
        if plain.fmt is formats.WAV:
            _pass_chunks(pipe)
        following = _plain(pipe)
    return ""


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
        pipe.skip(left)
