"""Ogg: pages of one or several streams, several files of which may follow one another (chained streams)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tdt.audio.structure.outline import Cursor, Outline, Piece, whole

if TYPE_CHECKING:
    from tdt.audio.structure.outline import ByteSource

_BEGINS, _ENDS = 2, 4
_NO_GRANULE = (1 << 64) - 1
# First packets: codec, where its rate lies, and bytes of that; Opus counts at 48 kHz whatever it was made from.
_CODECS = {
    b"\x01vorbis": ("vorbis", 12, "little"),
    b"OpusHead": ("opus", None, ""),
    b"Speex   ": ("speex", 36, "little"),
    b"\x7fFLAC": ("flac", 27, "big"),
}
SOUND = frozenset(codec for codec, _, _ in _CODECS.values())


@dataclass(slots=True)
class _Stream:
    """One logical stream of a link."""

    codec: str
    rate_hz: int
    skip: int = 0
    granule: int = 0
    ended: bool = False


@dataclass(slots=True)
class Link:
    """One of the files that are chained: bytes and streams by serial number."""

    start: int
    stop: int
    streams: dict[int, _Stream] = field(default_factory=dict)

    @property
    def codecs(self) -> list[str]:
        """What its streams are."""
        return [stream.codec for stream in self.streams.values()]

    def piece(self) -> Piece:
        """Return it as a piece."""
        ffmpeg = self.codecs not in (["vorbis"], ["opus"])
        sound = next((stream for stream in self.streams.values() if stream.codec in SOUND), None)
        if sound is None or sound.rate_hz <= 0:
            return Piece(self.start, self.stop, ffmpeg=ffmpeg)
        return Piece(self.start, self.stop, max(0, sound.granule - sound.skip), sound.rate_hz, ffmpeg)


def links(source: ByteSource) -> tuple[list[Link], int, int]:
    """Return the chained files, where the last whole page ends, and how many bytes before are no pages."""
    cursor, at = Cursor(source), 0
    found: list[Link] = []
    data = True  # pages that are no stream's first have come: the next first page begins a new file
    done = junk = 0
    while (at := cursor.find(b"OggS", at, cursor.size)) >= 0:
        head = cursor.get(at, 27)
        if len(head) < 27 or head[4] != 0:
            at += 4
            continue
        lacing = cursor.get(at + 27, head[26])
        body = at + 27 + head[26]
        end = body + sum(lacing)
        if end > cursor.size or len(lacing) < head[26]:
            return found, at, junk
        begins = bool(head[5] & _BEGINS)
        if begins and data:
            found.append(Link(at, end))
        data = not begins
        if found:
            _take(found[-1], head, cursor.get(body, 64) if begins else b"")
            found[-1].stop = end
        junk += at - done
        at = done = end
    return found, done, junk


def _take(link: Link, head: bytes, packet: bytes) -> None:
    """Note what a page says of its stream."""
    serial = int.from_bytes(head[14:18])
    if packet or head[5] & _BEGINS:
        link.streams[serial] = _stream(packet)
    stream = link.streams.get(serial)
    if stream is None:
        return
    granule = int.from_bytes(head[6:14], "little")
    if granule != _NO_GRANULE:
        stream.granule = granule
    stream.ended = stream.ended or bool(head[5] & _ENDS)


def _stream(packet: bytes) -> _Stream:
    for magic, (codec, at, order) in _CODECS.items():
        if packet.startswith(magic):
            if at is None:
                return _Stream(codec, 48000, int.from_bytes(packet[10:12], "little"))
            if order == "big":
                return _Stream(codec, int.from_bytes(packet[at : at + 3]) >> 4)
            return _Stream(codec, int.from_bytes(packet[at : at + 4], "little"))
    return _Stream("other", 0)


def walk(source: ByteSource) -> Outline:
    """Return the chained files as pieces; the last must say where it ends, as every encoder that finishes does."""
    found, done, junk = links(source)
    if not found:
        return whole(source)
    ended = all(stream.ended for stream in found[-1].streams.values() if stream.codec in SOUND)
    pieces = tuple(link.piece() for link in found)
    note = f"{junk} damaged bytes in the middle are left out" if junk else ""
    problem = "its last page is cut off" if done < source.size else "the page that ends it is not there"
    return Outline(pieces, "" if ended else problem, note)
