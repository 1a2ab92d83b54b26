"""One recording of a corpus, and a stretch of an input that holds several: values, no files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tdt.errors import TdtError


# What a line gains: the text; words, too; tokens, too.
DETAILS = ("text", "words", "tokens")


@dataclass(frozen=True, slots=True)
class Item:
    """One recording, or a part of one.

    Parameters
    ----------
    name : str
        What errors call it.
    line : dict
        The input's own keys, which the output's line keeps.
    source : str, bytes or None
        A path or an address, or the encoded sound; None where the input's line is none.
    offset, duration : float, optional
        The part of the source, in seconds; to its end where there is no duration.
    trusted : bool
        Whether the user named the file; what a manifest names is confined by a root.
    problem : TdtError, optional
        What is wrong with the input's line.
    """

    name: str
    line: dict[str, Any]
    source: str | bytes | None = None
    offset: float = 0.0
    duration: float | None = None
    trusted: bool = False
    problem: TdtError | None = None


@dataclass(frozen=True, slots=True)
class Pack:
    """A stretch of an input, small enough to be handed to a worker, which opens it itself.

    Parameters
    ----------
    format : str
        Of :data:`~tdt.corpus.readers.FORMATS`.
    path : str
        The file or folder of the input.
    first : int
        Number of its first item in the input, from 0.
    items : int or None
        How many; None where only reading tells.
    seconds : float
        Of sound, as far as the input says.
    text : bytes
        The lines of a manifest, or the names of a folder; empty where the worker reads them.
    size : int
        Bytes of the input where the worker reads it.
    lengths : tuple of float or None
        Seconds of each item, None where unknown, for planning; no part of what the pack is.
    """

    format: str
    path: str
    first: int
    items: int | None
    seconds: float = 0.0
    text: bytes = b""
    size: int = 0
    lengths: tuple[float | None, ...] = field(default=(), compare=False, repr=False)

    def identity(self) -> str:
        """Return a mark of what it holds, wherever its input lies."""
        own = [self.format, self.first, self.items, self.size, "" if self.text else self.path.rsplit("/", 1)[-1]]
        digest = hashlib.blake2b(json.dumps(own).encode(), digest_size=8)
        digest.update(self.text)
        return digest.hexdigest()
