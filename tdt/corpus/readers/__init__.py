"""Inputs of a corpus, one file a format: packs for the driver, without any audio, and the items in them for workers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tdt.corpus.files import is_folder, matching, open_input
from tdt.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tdt.corpus.items import Item, Pack
    from tdt.corpus.shards import ShardRule

# format → module; each offers packs(path, rule) and items(pack, column).
FORMATS = {
    "nemo": "tdt.corpus.readers.nemo",
    "lhotse": "tdt.corpus.readers.lhotse",
    "folder": "tdt.corpus.readers.folder",
    "webdataset": "tdt.corpus.readers.webdataset",
    "parquet": "tdt.corpus.readers.parquet",
}
_HEAD_BYTES = 1 << 16


def packs_of(inputs: Iterable[str], rule: ShardRule) -> Iterator[Pack]:
    """Yield the packs of inputs, in order of their names within a pattern; lazily, and without any audio.

    Parameters
    ----------
    inputs : iterable of str
        Files, folders, addresses or patterns.
    rule : ShardRule

    Raises
    ------
    ManifestError
        One is of no known format, or a pattern matches nothing.
    AudioError
        One cannot be opened.
    """
    for pattern in inputs:
        found = matching(pattern)
        if not found:
            raise ManifestError(pattern, "no file is of that pattern")
        for path in found:
            yield from _module(format_of(path)).packs(path, rule)


def items_of(pack: Pack, column: str | None = None) -> Iterator[Item]:
    """Yield the items of a pack; `column` names the audio column of Parquet files."""
    found: Iterator[Item] = _module(pack.format).items(pack, column)
    return found


def format_of(path: str) -> str:
    """Return the format of an input, by its first bytes.

    Raises
    ------
    ManifestError
        It is of none.
    AudioError
        It cannot be opened.
    """
    if is_folder(path):
        return "folder"
    with open_input(path) as file:
        head = file.read(_HEAD_BYTES)
    if head[:4] == b"PAR1":
        return "parquet"
    if head[257:262] == b"ustar":
        return "webdataset"
    if head[:2] in {b"\x1f\x8b", b"BZ", b"\xfd7", b"(\xb5"}:
        raise ManifestError(path, "it is compressed as a whole, and cannot be cut; unpack it first")
    from tdt.corpus.readers.lines import first_object

    first = first_object(path, head)
    return "lhotse" if "recording" in first or "type" in first else "nemo"


def _module(name: str) -> Any:
    return import_module(FORMATS[name])
