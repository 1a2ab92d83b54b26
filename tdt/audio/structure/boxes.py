"""Containers of elements inside elements: MP4 and its kin, Matroska and WebM, ASF, FLV, MPEG transport streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.audio.structure.outline import Cursor, Outline, Piece, whole

if TYPE_CHECKING:
    from tdt.audio.structure.outline import ByteSource

CUT = "its last part is cut off"
DAMAGED = "it is damaged in the middle; what cannot be decoded there is left out"
_EBML, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
_TS_BYTES = 188
_NO_TABLE = "its table of contents, which is written last, is not there: it was never finished, or is cut short"
# What may stand at the top of an MP4 file; anything else there is junk.
_BOXES = frozenset(
    {b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"mfra", b"sidx", b"ssix", b"prft", b"emsg", b"meta", b"meco"}
    | {b"free", b"skip", b"wide", b"uuid", b"pnot", b"pdin", b"udta", b"PICT"}
)
# Of Matroska: what may stand at the top, in a segment and in a cluster.
_ELEMENTS = frozenset(
    {_EBML, _SEGMENT, _CLUSTER, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1043A770, 0x1254C367, 0x1941A469}
    | {0xEC, 0xBF, 0xE7, 0xA3, 0xA0, 0xAB, 0xA7, 0x5854, 0xAF}
)


def walk_mp4(source: ByteSource) -> Outline:
    """Return the MP4 files that a source is joined of: each begins with its type, and has a table of contents."""
    at, start, described, samples, cut = 0, 0, False, False, False
    pieces: list[Piece] = []
    while len(head := source.read_at(at, 16)) >= 8 and head[4:8] in _BOXES:
        kind, length = head[4:8], int.from_bytes(head[:4])
        if kind == b"ftyp" and described:
            pieces.append(Piece(start, at))
            start, described, samples = at, False, False
        described = described or kind == b"moov"
        samples = samples or kind == b"mdat"
        length = int.from_bytes(head[8:]) if length == 1 else length or source.size - at
        cut = at + length > source.size
        if length < 8 or cut:
            break
        at += length
    problem = _NO_TABLE if samples and not described else CUT if cut else ""
    return Outline((*pieces, Piece(start, source.size)), problem)


def _number(head: bytes, at: int, keep: int) -> tuple[int, int] | None:
    """Return a number of Matroska's kind and where it ends: its first byte's leading zeros count its bytes."""
    if at >= len(head) or head[at] == 0:
        return None
    count = 9 - head[at].bit_length()
    value = int.from_bytes(head[at : at + count])
    return (value if keep else value & ((1 << 7 * count) - 1), at + count) if at + count <= len(head) else None


def walk_matroska(source: ByteSource) -> Outline:
    """Return the Matroska files that a source is joined of. Those streamed do not state the lengths of their parts."""
    cursor, at, start, segment_end, cut = Cursor(source), 0, 0, 0, False
    pieces: list[Piece] = []
    while at < source.size and not cut:
        head = cursor.get(at, 16)
        named = _number(head, 0, keep=True)
        sized = None if named is None else _number(head, named[1], keep=False)
        if named is None or sized is None or named[0] not in _ELEMENTS:
            cut = len(head) < 12 and named is not None and sized is None
            break  # junk
        (name, width), (length, end) = named, sized
        if name == _EBML and at > start:
            pieces.append(Piece(start, at))
            start = at
        unknown = length == (1 << 7 * (end - width)) - 1
        if name == _SEGMENT:
            segment_end = 0 if unknown else at + end + length
        # The parts of a segment follow one by one, and so do those of a cluster that does not state its length.
        at += end if name == _SEGMENT or unknown else end + length
        cut = at > source.size
    pieces.append(Piece(start, source.size))
    cut = cut or segment_end > source.size
    damaged = not cut and at < segment_end
    return Outline(tuple(pieces), CUT if cut else "", DAMAGED if damaged else "")


def walk_asf(source: ByteSource) -> Outline:
    """Return the ASF files that a source is joined of; what was broadcast does not state its length."""
    at, start, pieces = 0, 0, list[Piece]()
    while len(head := source.read_at(at, 24)) == 24:
        length = int.from_bytes(head[16:], "little")
        if head.startswith(_ASF_HEADER) and at:
            pieces.append(Piece(start, at))
            start = at
        if length < 24 or at + length > source.size:
            cut = head.startswith(_ASF_DATA) and length >= 24
            return Outline((*pieces, Piece(start, source.size)), CUT if cut else "")
        at += length
    return Outline((*pieces, Piece(start, source.size)))


def walk_flv(source: ByteSource) -> Outline:
    """Return the FLV files that a source is joined of: tags, and after each its length once more."""
    cursor, at, start, pieces = Cursor(source), 0, 0, list[Piece]()
    while at < source.size:
        head = cursor.get(at, 9)
        if head[:3] == b"FLV":
            if at:
                pieces.append(Piece(start, at))
                start = at
            at += int.from_bytes(head[5:]) + 4
        elif head[0] & 31 in {8, 9, 18}:
            at += 15 + int.from_bytes(head[1:4])
        else:
            break
    return Outline((*pieces, Piece(start, source.size)), CUT if at > source.size else "")


def walk_transport(source: ByteSource) -> Outline:
    """Return the outline of an MPEG transport stream: packets of one length, with 4 bytes of time before on discs."""
    packet = _TS_BYTES if source.read_at(0, 1) == b"G" else _TS_BYTES + 4
    rest = source.size % packet
    cut = rest > 0 and source.read_at(source.size - rest + packet - _TS_BYTES, 1) == b"G"
    return whole(source, "its last packet is cut off" if cut else "")
