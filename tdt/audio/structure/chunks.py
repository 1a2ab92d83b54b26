"""Files of chunks with lengths: WAV, RF64, AVI, W64, AIFF, AU, CAF; and FLAC, whose header counts samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from tdt.audio.structure.frames import skip_id3
from tdt.audio.structure.outline import Cursor, Outline, Piece, whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from tdt.audio.structure.outline import ByteSource

# From here on, and 0, lengths are what writers to a pipe put for "unknown".
UNKNOWN_BYTES = 0x7FFF0000
# Less missing than this is a sloppy writer, not a file cut short: 8 ms of 16-bit audio at 16 kHz.
SLACK_BYTES = 256
# A header's chunks before the sound: pictures and studio notes may take this much.
HEADER_BYTES = 1 << 20
RIFFS = {b"RIFF", b"RIFX", b"RF64"}
_W64_RIFF = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
# Where coding, channels, rate, bytes of a block and bits of a sample stand in the chunk "fmt ".
_FMT = ((0, 2), (2, 4), (4, 8), (12, 14), (14, 16))
_FLAC_BEGINS = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")


class WavHeader(NamedTuple):
    """What stands before the sound of a WAV file. `data_bytes` is what the header claims, `tag` the coding."""

    tag: int
    channels: int
    rate_hz: int
    block_bytes: int
    bits: int
    data_at: int
    data_bytes: int
    riff: bytes = b"RIFF"


def wav_header(get: Callable[[int, int], bytes], at: int = 0) -> WavHeader | None:
    """Return the header of the WAV file that begins at `at`; None where there is none, or no sound in it.

    Parameters
    ----------
    get : callable
        Returns up to so many bytes (second) from a place (first) on.
    at : int, optional
    """
    head = get(at, 12)
    if head[:4] not in RIFFS or head[8:] != b"WAVE":
        return None
    order = _order(head)
    fields, large, here = (0, 0, 0, 0, 0), 0, at + 12
    while here < at + HEADER_BYTES:
        chunk = get(here, 8)
        if len(chunk) < 8:
            return None
        length = int.from_bytes(chunk[4:], order)
        if chunk[:4] == b"ds64":
            large = int.from_bytes(get(here + 16, 8), "little")
        elif chunk[:4] == b"fmt ":
            body = get(here + 8, min(length, 40))
            values = [int.from_bytes(body[first:last], order) for first, last in _FMT]
            tag = int.from_bytes(body[24:26], order) if values[0] == 0xFFFE and len(body) >= 26 else values[0]
            fields = (tag, values[1], values[2], values[3], values[4])
        elif chunk[:4] == b"data":
            return WavHeader(*fields, here + 8, large if large and length == 0xFFFFFFFF else length, head[:4])
        here += 8 + length + length % 2
    return None


def _order(head: bytes) -> Literal["big", "little"]:
    return "big" if head[:4] == b"RIFX" else "little"


def walk_wav(source: ByteSource) -> Outline:
    """Return the WAV files that a source is joined of; the last may hold less than its header says."""
    cursor, at, left, pieces = Cursor(source, 1 << 12), 0, 0, list[Piece]()
    while (header := wav_header(cursor.get, at)) is not None:
        there = source.size - header.data_at
        claimed = header.data_bytes
        unfinished = claimed == 0 and there > 0 and not _is_chunk(cursor, header.data_at)
        if unfinished or claimed >= there:
            pieces.append(Piece(at, source.size, frames_of(header, there), header.rate_hz, unfinished))
            return Outline(tuple(pieces), _missing(there, claimed))
        stop, following = _behind(cursor, header.data_at + claimed)
        pieces.append(Piece(at, stop, frames_of(header, claimed), header.rate_hz))
        if following is None:
            left = source.size - stop
            break
        at = following
    note = f"the {left} bytes behind the sound that its header tells of are not read" if left > SLACK_BYTES else ""
    return Outline(tuple(pieces), note=note) if pieces else whole(source)


def frames_of(header: WavHeader, data_bytes: int) -> int | None:
    """Return how many samples a channel so many bytes hold; None where the coding is none of single samples."""
    plain = header.tag in {1, 3, 6, 7} and header.block_bytes == header.channels * -(-header.bits // 8)
    return data_bytes // header.block_bytes if plain and header.block_bytes else None


def _is_chunk(cursor: Cursor, at: int) -> bool:
    """Say whether a chunk begins here: a name, and a length that fits."""
    head = cursor.get(at, 8)
    return len(head) == 8 and is_name(head[:4]) and at + 8 + int.from_bytes(head[4:], "little") <= cursor.size


def is_name(letters: bytes) -> bool:
    """Say whether these can be a chunk's name: four printable letters."""
    return len(letters) == 4 and all(32 <= byte < 127 for byte in letters)


def _behind(cursor: Cursor, at: int) -> tuple[int, int | None]:
    """Return where the chunks behind the sound end, and where the next WAV file begins, where one follows."""
    here = at
    while here < cursor.size:
        head = cursor.get(here, 12)
        if head[:4] in RIFFS and head[8:] == b"WAVE":
            return here, here
        if _is_chunk(cursor, here):
            length = int.from_bytes(head[4:8], "little")
            here = min(here + 8 + length + length % 2, cursor.size)
        elif here == at and is_name(cursor.get(here + 1, 4)):
            here += 1  # the byte that makes lengths even
        else:
            break
    return here, None


def _missing(there: int, claimed: int) -> str:
    return f"{there} of {claimed} bytes of sound are there" if there + SLACK_BYTES < claimed < UNKNOWN_BYTES else ""


def walk_avi(source: ByteSource) -> Outline:
    """Return the outline of an AVI file, whose lists may follow one another."""
    at, problem = 0, ""
    while (head := source.read_at(at, 12))[:4] == b"RIFF" and head[8:11] == b"AVI":
        length = int.from_bytes(head[4:8], "little")
        if length == 0:
            break
        problem = _missing(source.size - at - 8, length)
        at += 8 + length + length % 2
    return whole(source, problem)


def walk_aiff(source: ByteSource) -> Outline:
    """Return the AIFF files that a source is joined of."""

    def sound(at: int) -> tuple[int, int, int]:
        end = at + 8 + int.from_bytes(source.read_at(at + 4, 4))
        begin, length = _chunk(source, at + 12, 8, b"SSND")
        return end + end % 2, begin, length

    return _repeated(source, (b"FORM",), sound)


def walk_caf(source: ByteSource) -> Outline:
    """Return the outline of a CAF file; a length of -1 is not known."""
    begin, length = _chunk(source, 8, 12, b"data")
    return whole(source, "" if length >= 1 << 63 else _missing(source.size - begin, length))


def walk_w64(source: ByteSource) -> Outline:
    """Return the Sony Wave64 files that a source is joined of."""

    def sound(at: int) -> tuple[int, int, int]:
        begin, length = _chunk(source, at + 40, 24, _W64_DATA)
        return at + int.from_bytes(source.read_at(at + 16, 8), "little"), begin, length - 24

    return _repeated(source, (_W64_RIFF,), sound)


def walk_au(source: ByteSource) -> Outline:
    """Return the AU files that a source is joined of."""

    def sound(at: int) -> tuple[int, int, int]:
        head = source.read_at(at, 12)
        order: Literal["big", "little"] = "big" if head[:4] == b".snd" else "little"
        begin, length = at + int.from_bytes(head[4:8], order), int.from_bytes(head[8:], order)
        return begin + length, begin, length

    return _repeated(source, (b".snd", b"dns."), sound)


def walk_voc(source: ByteSource) -> Outline:
    """Return the outline of a VOC file: blocks with lengths of three bytes, and an end."""
    at = int.from_bytes(source.read_at(20, 2), "little")
    while at < source.size and source.read_at(at, 1) != b"\0":
        at += 4 + int.from_bytes(source.read_at(at + 1, 3), "little")
    return whole(source, "its last block is cut off" if at > source.size else "")


def walk_nist(source: ByteSource) -> Outline:
    """Return the outline of a NIST SPHERE file, whose header is text."""
    words = source.read_at(0, 1024).split()
    values = {name: words[at + 2] for at, name in enumerate(words[:-2]) if words[at + 1] == b"-i"}
    try:
        counts = [int(values[name]) for name in (b"sample_count", b"channel_count", b"sample_n_bytes")]
    except (KeyError, ValueError):
        return whole(source)
    return whole(source, _missing(source.size - 1024, counts[0] * counts[1] * counts[2]))


def _chunk(source: ByteSource, at: int, header: int, name: bytes) -> tuple[int, int]:
    """Return where the body of the first chunk of this name begins, and its length; the end, and 0, without one.

    Lengths stand in big-endian order, but in Wave64, where they count their header, too, and fill up to eight bytes.
    """
    w64 = header == 24
    while len(head := source.read_at(at, header)) == header:
        length = int.from_bytes(head[len(name) :], "little" if w64 else "big")
        if head.startswith(name):
            return at + header, length
        at += max(header, length + -length % 8) if w64 else header + length + (length % 2 if header == 8 else 0)
    return source.size, 0


def _repeated(source: ByteSource, magics: tuple[bytes, ...], sound: Callable[[int], tuple[int, int, int]]) -> Outline:
    """Return the files of one format that a source is joined of.

    `sound` returns, of the file that begins at a place: where it ends, where its sound begins, and the bytes of that.
    """
    at, pieces = 0, list[Piece]()
    while True:
        end, begin, length = sound(at)
        if not at < end < source.size or not source.read_at(end, len(magics[0])).startswith(magics):
            pieces.append(Piece(at, source.size))
            return Outline(tuple(pieces), _missing(source.size - begin, length))
        pieces.append(Piece(at, end))
        at = end


def flac_info(head: bytes) -> tuple[int, int] | None:
    """Return rate and samples (0: not known) of the FLAC file that begins with `head` (42 bytes)."""
    if len(head) < 42 or head[:4] != b"fLaC":
        return None
    packed = int.from_bytes(head[18:26])
    return packed >> 44, packed & ((1 << 36) - 1)


def walk_flac(source: ByteSource) -> Outline:
    """Return the FLAC files that a source is joined of; the decoder finds what is missing."""
    cursor, starts = Cursor(source, 1 << 20), [0]
    first = skip_id3(source)
    found = [first]
    for begin in _FLAC_BEGINS:
        at = first
        while (at := cursor.find(begin, at + 1, source.size)) >= 0:
            if _is_flac(cursor.get(at, 42)):
                found.append(at)
    starts += sorted(found)[1:]
    pieces = []
    for number, start in enumerate(starts):
        stop = starts[number + 1] if number + 1 < len(starts) else source.size
        rate_hz, frames = flac_info(source.read_at(first if number == 0 else start, 42)) or (0, 0)
        pieces.append(Piece(start, stop, frames or None, rate_hz, ffmpeg=frames == 0))
    return Outline(tuple(pieces))


def _is_flac(head: bytes) -> bool:
    """Say whether a header is one: blocks of 16 samples and more, and a rate."""
    info = flac_info(head)
    least, most = int.from_bytes(head[8:10]), int.from_bytes(head[10:12])
    return info is not None and 16 <= least <= most and 0 < info[0] <= 655350
