"""Streams of frames that each state their length: MPEG audio (MP3), AAC (ADTS and LOAS), AC-3 and AMR."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from tdt.audio.structure.outline import Cursor, Outline, Piece, whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from tdt.audio.structure.outline import ByteSource

# Enough of a frame to know its length, and to see an MP3's count of frames.
HEAD_BYTES = 192
# Bytes in which the first frame is looked for.
SEARCH_BYTES = 1 << 16
_RATES = (44100, 48000, 32000)
_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
# kbit/s by index, for MPEG-1 layers I to III and MPEG-2 layers I and the others.
_KBITS = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_AC3_KBITS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
_AMR_BYTES = {b"#!AMR\n": (13, 14, 16, 18, 20, 21, 27, 32, 6), b"#!AMR-WB\n": (18, 24, 33, 37, 41, 47, 51, 59, 61, 6)}
_SYNC = {"mpeg": b"\xff", "adts": b"\xff", "loas": b"\x56", "ac3": b"\x0b"}
_TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN")


class Frame(NamedTuple):
    """A frame's bytes, its samples at `rate_hz`, and what all frames of a stream share."""

    length: int
    samples: int
    rate_hz: int
    kind: tuple[int, ...]


@cache
def _mpeg(second: int, third: int, mono: bool) -> Frame | None:
    version = {3: 1, 2: 2, 0: 4}.get(second >> 3 & 3)  # MPEG-1, 2 and 2.5: the rate is divided by this
    layer, bitrate, rate = 4 - (second >> 1 & 3), third >> 4, third >> 2 & 3
    if version is None or layer == 4 or bitrate in {0, 15} or rate == 3:
        return None
    hertz = _RATES[rate] // version
    kbits = _KBITS[min(version, 2), layer if version == 1 else min(layer, 2)][bitrate - 1]
    samples = 384 if layer == 1 else 576 if layer == 3 and version > 1 else 1152
    padding = (third >> 1 & 1) * (4 if layer == 1 else 1)
    length = kbits * 12_000 // hertz * 4 if layer == 1 else kbits * 125 * samples // hertz
    return Frame(length + padding, samples, hertz, (version, layer, hertz, mono))


def mpeg(head: bytes) -> Frame | None:
    """Return the MPEG audio frame that begins with `head`, if one does."""
    if len(head) < 4 or head[0] != 0xFF or head[1] < 0xE0:
        return None
    return _mpeg(head[1], head[2], head[3] >> 6 == 3)


def adts(head: bytes) -> Frame | None:
    """Return the AAC frame that begins with `head`, if one does."""
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 15 >= len(_AAC_RATES):
        return None
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    kind = (head[1], head[2] & 0xFD, head[3] & 0xC0)
    return Frame(length, 1024 * ((head[6] & 3) + 1), _AAC_RATES[head[2] >> 2 & 15], kind) if length > 7 else None


def loas(head: bytes) -> Frame | None:
    """Return the AAC frame with LOAS sync that begins with `head`, if one does; its samples are not known."""
    if len(head) < 3 or head[0] != 0x56 or head[1] & 0xE0 != 0xE0:
        return None
    return Frame(((head[1] & 0x1F) << 8 | head[2]) + 3, 0, 0, ())


def ac3(head: bytes) -> Frame | None:
    """Return the AC-3 or E-AC-3 frame that begins with `head`, if one does."""
    if len(head) < 6 or head[:2] != b"\x0b\x77":
        return None
    rate, version = head[4] >> 6, head[5] >> 3
    if version > 10:
        blocks = 6 if rate == 3 else (1, 2, 3, 6)[head[4] >> 4 & 3]
        hertz = (24000, 22050, 16000, 0)[head[4] >> 4 & 3] if rate == 3 else (48000, 44100, 32000)[rate]
        length = (((head[2] & 7) << 8 | head[3]) + 1) * 2
        # What depends on the frame before adds channels, no time.
        return Frame(length, 0 if head[2] >> 6 == 1 else 256 * blocks, hertz, (16,)) if hertz and length > 8 else None
    size = head[4] & 63
    if rate == 3 or size >= 2 * len(_AC3_KBITS):
        return None
    kbits = _AC3_KBITS[size // 2]
    words = (2 * kbits, 320 * kbits // 147 + size % 2, 3 * kbits)[rate]
    return Frame(2 * words, 1536, (48000, 44100, 32000)[rate], (version, rate))


KINDS: dict[str, Callable[[bytes], Frame | None]] = {"mpeg": mpeg, "adts": adts, "loas": loas, "ac3": ac3}


def first_frames(source: ByteSource, at: int) -> str | None:
    """Return the kind of frames that begin soonest from `at` on: three of a kind in a row, or all there are."""
    cursor = Cursor(source)
    stop = min(source.size, at + SEARCH_BYTES)
    for start in range(at, stop):
        if cursor.get(start, 1) not in {b"\xff", b"\x56", b"\x0b"}:
            continue
        for name, parse in KINDS.items():
            if _follow(cursor, parse, start, 2):
                return name
    return None


def _follow(cursor: Cursor, parse: Callable[[bytes], Frame | None], at: int, more: int) -> bool:
    """Say whether a frame begins here and is followed by others of its kind, by a tag, or by nothing."""
    frame = parse(cursor.get(at, HEAD_BYTES))
    if frame is None:
        return False
    for _ in range(more):
        at += frame.length
        head = cursor.get(at, HEAD_BYTES)
        if at == cursor.size or head.startswith(_TAGS):
            return True
        following = parse(head)
        if following is None or following.kind != frame.kind:
            return False
        frame = following
    return True


@dataclass(slots=True)
class _Run:
    """Frames without a gap. `count` and `bytes` are what a recording claims, where this is its first run."""

    start: int
    kind: tuple[int, ...]
    rate_hz: int
    stop: int
    behind_junk: bool
    count: int
    bytes: int
    frames: int = 0
    samples: int = 0


def walker(name: str) -> Callable[[ByteSource], Outline]:
    """Return :func:`walk` for one kind of frames."""
    return lambda source: walk(source, name)


def walk(source: ByteSource, name: str) -> Outline:
    """Return the runs of frames of a stream as pieces, without the tags and the junk between.

    Parameters
    ----------
    source : ByteSource
    name : {"mpeg", "adts", "loas", "ac3"}
    """
    parse, cursor, at, cut, junk = KINDS[name], Cursor(source), 0, False, False
    runs: list[_Run] = []
    run: _Run | None = None
    while at < cursor.size:
        head = cursor.get(at, HEAD_BYTES)
        frame = parse(head)
        count = _count(head, frame) if frame is not None and name == "mpeg" else None
        if run is None or frame is None or frame.kind != run.kind or count is not None:
            run = None
            if frame is None or not _follow(cursor, parse, at, 1):
                behind = _behind_tag(head, at)
                junk = junk or behind is None
                at = _next_sync(cursor, name, at) if behind is None else behind
                continue
            run = _Run(at, frame.kind, frame.rate_hz, at, junk, *(count or (0, 0)))
            runs.append(run)
            junk = False
        if at + frame.length > cursor.size:
            cut = True
            break
        at += frame.length
        run.stop = at
        run.frames += count is None
        run.samples += frame.samples if count is None else 0
    return _outline(source, name, [run for run in runs if run.frames], cut)


def _behind_tag(head: bytes, at: int) -> int | None:
    """Return where the tag that begins with `head` at `at` ends; None where there is none."""
    if head[:3] == b"ID3" and len(head) >= 10:
        return id3_end(head, at)
    if head[:8] == b"APETAGEX" and len(head) >= 16:
        return at + 32 + (int.from_bytes(head[12:16], "little") if head[23] & 0x20 else 0)
    return at + 128 if head[:3] == b"TAG" else None


def _next_sync(cursor: Cursor, name: str, at: int) -> int:
    """Return where a byte stands next that may begin a frame."""
    found = cursor.find(_SYNC[name], at + 1, cursor.size)
    return cursor.size if found < 0 else found


def id3_end(head: bytes, at: int) -> int:
    """Return where the ID3v2 tag ends that begins at `at` with `head` (10 bytes)."""
    length = (head[6] & 127) << 21 | (head[7] & 127) << 14 | (head[8] & 127) << 7 | head[9] & 127
    return at + length + (20 if head[5] & 16 else 10)


def skip_id3(source: ByteSource, at: int = 0) -> int:
    """Return where what follows the ID3v2 tags at `at` begins; `at` where there is none."""
    while (head := source.read_at(at, 10))[:3] == b"ID3" and len(head) == 10:
        at = id3_end(head, at)
    return at


def _count(head: bytes, frame: Frame) -> tuple[int, int] | None:
    """Return the frames and bytes that an MP3's first frame states for all, 0 where not; None for an ordinary frame."""
    version, _, _, mono = frame.kind
    side = (17 if mono else 32) if version == 1 else (9 if mono else 17)
    for at in (4 + side, 6 + side):  # behind a checksum, where there is one
        if head[at : at + 4] in {b"Xing", b"Info"}:
            flags, values = head[at + 7], head[at + 8 : at + 16]
            frames = int.from_bytes(values[:4]) if flags & 1 else 0
            size = values[4:] if flags & 1 else values[:4]
            return frames, int.from_bytes(size) if flags & 2 else 0
    if head[36:40] == b"VBRI":
        return int.from_bytes(head[50:54]), int.from_bytes(head[46:50])
    return None


def _outline(source: ByteSource, name: str, runs: list[_Run], cut: bool) -> Outline:
    if not runs:
        return whole(source)
    pieces: list[Piece] = []
    for number, run in enumerate(runs):
        samples, rate_hz = run.samples or None, run.rate_hz or None
        same = number > 0 and run.behind_junk and not run.count and run.kind == runs[number - 1].kind
        if same and name == "mpeg":  # FFmpeg finds its way through junk, libsndfile would lose a quarter of a second
            before = pieces.pop()
            pieces.append(Piece(before.start, run.stop, (before.frames or 0) + run.samples, rate_hz, ffmpeg=True))
        else:
            pieces.append(Piece(run.start, run.stop, samples, rate_hz))
    if runs[0].start == skip_id3(source):
        pieces[0] = pieces[0]._replace(start=0)
    return Outline(tuple(pieces), _problem(runs, cut))


def _problem(runs: list[_Run], cut: bool) -> str:
    begun = next((number for number in range(len(runs) - 1, -1, -1) if runs[number].count), None)
    if begun is None:
        return "its last frame is cut off" if cut else ""
    first = runs[begun]
    found = sum(run.frames for run in runs[begun:])
    # What is damaged in the middle lacks frames, but no bytes; and some count the frame in which the count stands.
    bytes_missing = not first.bytes or runs[-1].stop - first.start < first.bytes
    missing = bytes_missing and (found + 1 < first.count or (cut and found < first.count))
    return f"{found} of {first.count} frames are there" if missing else ""


def walk_amr(source: ByteSource) -> Outline:
    """Return the recordings of an AMR file, which are frames of lengths that their first bytes say."""
    cursor, at, pieces = Cursor(source), 0, list[Piece]()
    start, frames, rate_hz = 0, 0, 8000
    lengths: tuple[int, ...] = ()
    while at < cursor.size:
        magic = next((magic for magic in _AMR_BYTES if cursor.get(at, len(magic)) == magic), None)
        if magic is not None:
            if frames:
                pieces.append(Piece(start, at, frames * rate_hz // 50, rate_hz))
            start, frames, lengths, rate_hz = at, 0, _AMR_BYTES[magic], 16000 if len(magic) > 6 else 8000
            at += len(magic)
            continue
        mode = cursor.get(at, 1)[0]
        length = 1 if mode & 0x7C == 0x7C else lengths[mode >> 3] if mode >> 3 < len(lengths) else 0
        if length == 0 or mode & 3 or at + length > cursor.size:
            break
        at += length
        frames += 1
    pieces.append(Piece(start, at, frames * rate_hz // 50, rate_hz))
    left = cursor.size - at
    long = f"its last {left} bytes are no frames"
    return Outline(
        tuple(pieces), long if left > max(lengths, default=0) else "its last frame is cut off" if left else ""
    )
