"""What decoders hand on: blocks of samples, and at the end a word about it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

BLOCK_SECONDS = 10.0
# A header may claim any number of channels; 8 of them at 192 kHz for ten seconds would take 61 MB. This is 4 MB.
MAX_BLOCK_VALUES = 1 << 20


class Block(NamedTuple):
    """Samples [shape=(n, channels)], float32, full scale at -1..1, and their rate, which may change between blocks."""

    rate_hz: int
    samples: npt.NDArray[np.float32]


# Gives blocks, and returns what shows that the sound broke off, or "".
Blocks: TypeAlias = Generator[Block, None, str]


@dataclass(frozen=True, slots=True)
class Track:
    """One audio track of a file.

    Parameters
    ----------
    number : int
        Among the audio tracks, from 0.
    codec : str
    rate_hz, channels : int
        0 where the file does not say.
    seconds : float or None
        Its length, where the file says.
    language, title : str
        "" where the file does not say.
    default : bool
        Whether it is the one that is taken where none is chosen.
    """

    number: int
    codec: str
    rate_hz: int
    channels: int
    seconds: float | None = None
    language: str = ""
    title: str = ""
    default: bool = False


@dataclass(frozen=True, slots=True)
class Decoding:
    """A file, or a piece of one, that a decoder has opened.

    Parameters
    ----------
    blocks : Blocks
    tracks : tuple of Track
    track : int
        The one that is decoded.
    seconds : float or None
        Length that the file claims.
    container : str
        The decoder's name for the format.
    """

    blocks: Blocks
    tracks: tuple[Track, ...]
    track: int = 0
    seconds: float | None = None
    container: str = ""


def block_frames(rate_hz: int, channels: int, seconds: float = BLOCK_SECONDS) -> int:
    """Return how many samples a channel a block holds."""
    return max(1024, min(int(seconds * rate_hz), MAX_BLOCK_VALUES // max(1, channels)))
