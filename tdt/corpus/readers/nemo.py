"""NeMo's manifests: `audio_filepath`, perhaps `offset` and `duration` in seconds, and any other keys.

As in NeMo's data sets, a duration cuts also where no offset is given, and relative paths lie beside the manifest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdt.corpus.files import beside
from tdt.corpus.items import Item, Pack
from tdt.corpus.readers.lines import line_packs, malformed, objects, part_of
from tdt.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tdt.corpus.shards import ShardRule


def packs(path: str, rule: ShardRule) -> Iterator[Pack]:
    """Yield the packs of a manifest."""
    return line_packs(path, "nemo", rule, "duration")


def items(pack: Pack, column: str | None = None) -> Iterator[Item]:  # noqa: ARG001
    """Yield the items of a pack; a line that is none is an item with its problem."""
    name = pack.path.rpartition("/")[2]
    for number, line, text in objects(pack):
        if line is None:
            kept, error = malformed(pack.path, number, text)
            yield Item(f"{name}, line {number}", kept, problem=error)
            continue
        try:
            file = _path(line)
            offset, duration = part_of(line.get("offset"), line.get("duration"))
        except ValueError as error:
            yield Item(f"{name}, line {number}", line, problem=ManifestError(name, str(error), number))
            continue
        yield Item(file, line, beside(pack.path, file), offset, duration)


def _path(line: dict[str, Any]) -> str:
    file = line.get("audio_filepath")
    if not isinstance(file, str) or not file:
        raise ValueError(f"audio_filepath is {file!r}, no path")
    return file
