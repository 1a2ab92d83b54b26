"""Containers of elements inside elements: MP4 and its kin, Matroska and WebM, ASF, FLV, MPEG transport streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.audio.structure.outline import Cursor, Outline, Piece, whole

if TYPE_CHECKING:
    from tdt.audio.structure.outline import ByteSource

CUT = "its last part is cut off"
_EBML, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
_ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
_TS_BYTES = 188


def walk_mp4(source: ByteSource) -> Outline:
    """Return the MP4 files that a source is joined of: each begins with its type, and has a table of contents."""
    at, start, described, samples = 0, 0, False, False
    pieces: list[Piece] = []
    while len(head := source.read_at(at, 16)) >= 8:
        kind, length = head[4:8], int.from_bytes(head[:4])
        if not all(32 <= byte < 127 or byte == 0xA9 for byte in kind):
            break  # junk behind the last
        if kind == b"ftyp" and described:
            pieces.append(Piece(start, at))
            start, described, samples = at, False, False
        described = described or kind == b"moov"
        samples = samples or kind == b"mdat"
        if length == 0:
            return Outline((*pieces, Piece(start, source.size)))
        if length == 1:
            length = int.from_bytes(head[8:])
        if length < 8:
            break
        at += length
        if at > source.size:
            return Outline((*pieces, Piece(start, source.size)), CUT)
    missing = "its table of contents, which recorders write last, is not there" if samples and not described else ""
    return Outline((*pieces, Piece(start, source.size)), missing)


def samples_come_first(source: ByteSource) -> bool:
    """Say whether the table of contents of an MP4 file lies behind its samples, so that only files can be read."""
    at = 0
    while len(head := source.read_at(at, 16)) >= 8 and head[4:8] != b"moov":
        length = int.from_bytes(head[:4]) if head[:4] != b"\0\0\0\1" else int.from_bytes(head[8:])
        if head[4:8] == b"mdat" or length < 8:
            return True
        at += length
    return False


def _number(head: bytes, at: int, keep: int) -> tuple[int, int] | None:
    """Return a number of Matroska's kind and where it ends: its first byte's leading zeros count its bytes."""
    if at >= len(head) or head[at] == 0:
        return None
    count = 9 - head[at].bit_length()
    value = int.from_bytes(head[at : at + count])
    return (value if keep else value & ((1 << 7 * count) - 1), at + count) if at + count <= len(head) else None


def walk_matroska(source: ByteSource) -> Outline:
    """Return the Matroska files that a source is joined of. Those streamed do not state the lengths of their parts."""
    cursor, at, start = Cursor(source), 0, 0
    pieces: list[Piece] = []
    while at < source.size:
        head = cursor.get(at, 16)
        named = _number(head, 0, keep=True)
        sized = None if named is None else _number(head, named[1], keep=False)
        if named is None or sized is None:
            cut = len(head) < 12 and named is not None
            return Outline((*pieces, Piece(start, source.size)), CUT if cut else "")
        (name, width), (length, end) = named, sized
        if name == _EBML and at > start:
            pieces.append(Piece(start, at))
            start = at
        unknown = length == (1 << 7 * (end - width)) - 1
        if name in {_SEGMENT, _CLUSTER} and (unknown or at + end + length > source.size):
            if not unknown:
                return Outline((*pieces, Piece(start, source.size)), CUT)
            at += end  # its parts follow, one by one
            continue
        at += end + length
        if unknown or at > source.size:
            return Outline((*pieces, Piece(start, source.size)), "" if unknown else CUT)
    return Outline((*pieces, Piece(start, source.size)))


def walk_asf(source: ByteSource) -> Outline:
    """Return the outline of an ASF file; what was broadcast does not state its length."""
    at = 0
    while len(head := source.read_at(at, 24)) == 24:
        length = int.from_bytes(head[16:], "little")
        if length < 24:
            break
        at += length
        if at > source.size:
            return whole(source, CUT)
    return whole(source)


def walk_flv(source: ByteSource) -> Outline:
    """Return the outline of an FLV file: tags, and after each its length once more."""
    cursor = Cursor(source)
    at = int.from_bytes(cursor.get(5, 4)) + 4
    while len(head := cursor.get(at, 4)) == 4:
        at += 15 + int.from_bytes(head[1:])
    return whole(source, CUT if at > source.size or head else "")


def walk_transport(source: ByteSource) -> Outline:
    """Return the outline of an MPEG transport stream: packets of one length, with 4 bytes of time before on discs."""
    packet = _TS_BYTES if source.read_at(0, 1) == b"\x47" else _TS_BYTES + 4
    return whole(source, "its last packet is cut off" if source.size % packet else "")
