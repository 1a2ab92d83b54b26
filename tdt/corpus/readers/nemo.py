"""NeMo's manifests: `audio_filepath`, perhaps `offset` and `duration` in seconds, and any other keys.

As in NeMo's data sets, a duration cuts also where no offset is given, and relative paths lie beside the manifest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdt.corpus.readers.lines import Described, line_items, line_packs, part_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tdt.corpus.items import Item, Pack
    from tdt.corpus.shards import ShardRule


def packs(path: str, rule: ShardRule) -> Iterator[Pack]:
    """Yield the packs of a manifest."""
    return line_packs(path, "nemo", rule, "duration")


def items(pack: Pack, column: str | None = None) -> Iterator[Item]:  # noqa: ARG001
    """Yield the items of a pack; a line that is none is an item with its problem."""
    return line_items(pack, _described)


def _described(line: dict[str, Any]) -> Described:
    file = line.get("audio_filepath")
    if not isinstance(file, str) or not file:
        raise ValueError(f"audio_filepath is {file!r}, no path")
    return Described(file, file, *part_of(line.get("offset"), line.get("duration")))
