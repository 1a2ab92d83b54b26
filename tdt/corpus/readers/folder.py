"""Folders of recordings, those below them included, in order of name; the name tells what is audio."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from tdt.audio import audio_files
from tdt.corpus.items import Item, Pack
from tdt.errors import ManifestError
from tdt.text import readable_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tdt.corpus.shards import ShardRule


def packs(path: str, rule: ShardRule) -> Iterator[Pack]:
    """Yield the packs of a folder.

    Raises
    ------
    ManifestError
        It holds no audio file.
    """
    files = iter(audio_files(Path(path)))
    first = 0
    while block := [file.relative_to(path).as_posix() for file in islice(files, rule.items)]:
        yield Pack("folder", path, first, len(block), text=json.dumps(block).encode(), lengths=(None,) * len(block))
        first += len(block)
    if not first:
        raise ManifestError(path, "the folder holds no audio file (by name: .wav, .flac, .mp3, …)")


def items(pack: Pack, column: str | None = None) -> Iterator[Item]:  # noqa: ARG001
    """Yield the items of a pack; their paths in the output are relative to the folder."""
    for name in json.loads(pack.text):
        shown = readable_name(name)
        yield Item(shown, {"audio_filepath": shown}, f"{pack.path}/{name}")
