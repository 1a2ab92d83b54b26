"""Tags that players put behind the sound of files of any format: ID3v1, APE, Lyrics3."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tdt.audio.structure.outline import ByteSource

_ID3_BYTES = 128
_APE_BYTES = 32
_LYRICS_MOST_BYTES = 5100  # of the first version, which does not state its length


def end_of_sound(source: ByteSource) -> int:
    """Return where the tags at the end of a source begin; its size where there is none."""
    end = source.size
    while end > 0:
        shorter = _before_tag(source, end)
        if shorter == end:
            break
        end = shorter
    return end


def _before_tag(source: ByteSource, end: int) -> int:
    """Return where the tag begins that ends at `end`; `end` where none does."""
    tail = source.read_at(max(0, end - _ID3_BYTES), min(end, _ID3_BYTES))
    if len(tail) == _ID3_BYTES and tail.startswith(b"TAG"):
        return end - _ID3_BYTES
    footer = tail[-_APE_BYTES:]
    if footer.startswith(b"APETAGEX") and len(footer) == _APE_BYTES:
        length = int.from_bytes(footer[12:16], "little")
        header = _APE_BYTES if footer[23] & 0x80 else 0
        return end - length - header if _APE_BYTES <= length <= end - header else end
    if tail.endswith(b"LYRICS200") and tail[-15:-9].isdigit():
        return max(0, end - 15 - int(tail[-15:-9]))
    if tail.endswith(b"LYRICSEND"):
        window = source.read_at(max(0, end - _LYRICS_MOST_BYTES), min(end, _LYRICS_MOST_BYTES))
        begin = window.rfind(b"LYRICSBEGIN")
        return end - len(window) + begin if begin >= 0 else end
    return end
