"""Which format a source is of, by its first bytes: the only formats that are handed to a decoder, and to which one.

A name says nothing: what is called .wav and lists other files is refused, as is all that this table does not hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tdt.audio.structure import boxes, chunks, frames, outline, pages

if TYPE_CHECKING:
    from collections.abc import Callable

    from tdt.audio.structure.outline import ByteSource, Outline

HEAD_BYTES = 400


@dataclass(frozen=True, slots=True)
class Format:
    """A file format.

    Parameters
    ----------
    name : str
        As messages call it.
    demuxer : str
        FFmpeg's name for it; "" where only libsndfile is asked.
    sndfile : bool
        Whether libsndfile is asked first.
    walk : callable
        Returns the outline of a source.
    exact : bool
        Whether the length that its container claims is that of the sound, to the frame.
    timed : bool
        Whether its container claims a length that the times of its packets must reach, where it holds nothing else.
    frames : bool
        Whether it is nothing but frames, each of which can be found again behind damage.
    """

    name: str
    demuxer: str
    sndfile: bool = False
    walk: Callable[[ByteSource], Outline] = outline.whole
    exact: bool = False
    timed: bool = False
    frames: bool = False


# libsndfile knows more formats than these, by their own first bytes; none of them can name another file.
UNKNOWN = Format("unknown", "", sndfile=True)
WAV = Format("WAV", "wav", sndfile=True, walk=chunks.walk_wav)
AU = Format("AU", "au", sndfile=True, walk=chunks.walk_au)
FLAC = Format("FLAC", "flac", sndfile=True, walk=chunks.walk_flac, exact=True)
MP4 = Format("MP4", "mov", walk=boxes.walk_mp4)
OGG = Format("Ogg", "ogg", sndfile=True, walk=pages.walk)
_FRAMES = {
    "mpeg": Format("MP3", "mp3", sndfile=True, walk=frames.walker("mpeg"), frames=True),
    "adts": Format("AAC", "aac", walk=frames.walker("adts"), frames=True),
    "loas": Format("AAC", "loas", walk=frames.walker("loas"), frames=True),
    "ac3": Format("AC-3", "ac3", walk=frames.walker("ac3"), frames=True),
}
_EAC3 = Format("E-AC-3", "eac3", walk=frames.walker("ac3"), frames=True)
_TRANSPORT = Format("MPEG transport stream", "mpegts", walk=boxes.walk_transport)
_AVI = Format("AVI", "avi", walk=chunks.walk_avi)
_MPC = Format("Musepack", "mpc", exact=True)

# First bytes, and the format.
_STARTS: tuple[tuple[bytes, Format], ...] = (
    (b"fLaC", FLAC),
    (b"OggS", OGG),
    (b"RF64", WAV),
    (b"riff\x2e\x91\xcf\x11", Format("W64", "w64", sndfile=True, walk=chunks.walk_w64)),
    (b".snd", AU),
    (b"dns.", AU),
    (b"caff", Format("CAF", "caf", sndfile=True, walk=chunks.walk_caf)),
    (b"Creative Voice File", Format("VOC", "voc", sndfile=True, walk=chunks.walk_voc)),
    (b"NIST_1A", Format("NIST SPHERE", "", sndfile=True, walk=chunks.walk_nist)),
    (b"\x1aE\xdf\xa3", Format("Matroska", "matroska", walk=boxes.walk_matroska, timed=True)),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", Format("ASF", "asf", walk=boxes.walk_asf)),
    (b"#!AMR", Format("AMR", "amr", walk=frames.walk_amr)),
    (b"FLV\x01", Format("FLV", "flv", walk=boxes.walk_flv)),
    (b"\0\0\1\xba", Format("MPEG program stream", "mpeg")),
    (b"MAC ", Format("Monkey's Audio", "ape", exact=True)),
    (b"wvpk", Format("WavPack", "wv", exact=True)),
    (b"TTA1", Format("TTA", "tta", exact=True)),
    (b"tBaK", Format("TAK", "tak", exact=True)),
    (b"MP+", _MPC),
    (b"MPCK", Format("Musepack", "mpc8", exact=True)),
    (b"DSD ", Format("DSF", "dsf", exact=True)),
    (b"ajkg", Format("Shorten", "shn")),
    (b"qoaf", Format("QOA", "qoa", exact=True)),
    (b".RMF", Format("RealMedia", "rm", timed=True)),
    (b"nut/multimedia container", Format("NUT", "nut", timed=True)),
    (b"\x06\x0e\x2b\x34\x02\x05\x01\x01", Format("MXF", "mxf")),
    (b"EA3\x01", Format("OpenMG", "oma")),
    (b"\x7f\xfe\x80\x01", Format("DTS", "dts")),
    (b"\xfe\x7f\x01\x80", Format("DTS", "dts")),
)
_BOXES = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp", b"moof", b"pnot"}
_RIFFS = {b"WAVE": WAV, b"AVI ": _AVI, b"QLCM": Format("QCP", "qcp")}
_FORMS = {b"AIFF", b"AIFC"}
_AIFF = Format("AIFF", "aiff", sndfile=True, walk=chunks.walk_aiff)


def sniff(source: ByteSource) -> Format:
    """Return the format of a source; UNKNOWN for what this table does not hold."""
    at = frames.skip_id3(source)
    head = source.read_at(at, HEAD_BYTES)
    found = by_head(head)
    if found is not None:
        return found
    kind = frames.first_frames(source, at)
    if kind == "ac3" and len(head) > 5 and head[:2] == b"\x0b\x77" and head[5] >> 3 > 10:
        return _EAC3
    return UNKNOWN if kind is None else _FRAMES[kind]


def by_head(head: bytes) -> Format | None:
    """Return the format that begins with `head`, where its first bytes are always the same."""
    if head[:4] in {b"RIFF", b"RIFX"}:
        return _RIFFS.get(head[8:12])
    if head[:4] == b"FORM" and head[8:12] in _FORMS:
        return _AIFF
    if head[4:8] in _BOXES:
        return MP4
    if _is_transport(head):
        return _TRANSPORT
    return next((fmt for magic, fmt in _STARTS if head.startswith(magic)), None)


def _is_transport(head: bytes) -> bool:
    """Say whether two packets of a transport stream begin here, plain or with 4 bytes of time before each."""
    return head[:1] == b"G" == head[188:189] or head[4:5] == b"G" == head[196:197]
