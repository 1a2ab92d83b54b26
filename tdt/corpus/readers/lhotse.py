"""Lhotse's cuts: JSON lines of `MonoCut` whose recording has one source, a file.

A source of another type, such as a command, is refused: a manifest shall not say what is run here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdt.corpus.readers.lines import Described, line_items, line_packs, part_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tdt.corpus.items import Item, Pack
    from tdt.corpus.shards import ShardRule


def packs(path: str, rule: ShardRule) -> Iterator[Pack]:
    """Yield the packs of a manifest of cuts."""
    return line_packs(path, "lhotse", rule, "duration")


def items(pack: Pack, column: str | None = None) -> Iterator[Item]:  # noqa: ARG001
    """Yield the items of a pack; a cut that cannot be taken is an item with its problem."""
    return line_items(pack, _described)


def _described(line: dict[str, Any]) -> Described:
    try:
        file = _file(line)
        return Described(str(line.get("id", file)), file, *part_of(line.get("start"), line.get("duration")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is no cut of a file ({type(error).__name__}: {error})") from error


def _file(line: dict[str, Any]) -> str:
    """Return the file of a cut.

    Raises
    ------
    ValueError, KeyError, TypeError, AttributeError
        It has none, or more than one.
    """
    if line.get("type", "MonoCut") != "MonoCut":
        raise ValueError(f"cuts of type {line['type']!r} are not read, only MonoCut")
    (source,) = line["recording"]["sources"]
    if source["type"] != "file" or not isinstance(source["source"], str) or not source["source"]:
        raise ValueError(f"its recording's source is of type {source['type']!r}, only files are read")
    file: str = source["source"]
    return file
