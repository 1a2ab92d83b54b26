"""Parquet files with an audio column: Hugging Face's `{bytes, path}`, plain bytes, or paths beside the file.

A shard is so many rows of a file; a worker reads its rows only, in small batches.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from tdt.corpus.files import beside, open_input, pyarrow, size_of
from tdt.corpus.items import Item, Pack
from tdt.errors import AudioError, ManifestError, TdtError
from tdt.failures import typed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tdt.corpus.shards import ShardRule

NAMES = ("audio", "audio_filepath", "file", "path")
_BATCH_ROWS = 16


def packs(path: str, rule: ShardRule) -> Iterator[Pack]:
    """Yield the packs of a file; nothing of it but its footer is read."""
    size = size_of(path)
    with open_input(path) as raw:
        rows = _opened(path, raw).metadata.num_rows
    for first in range(0, rows, rule.items):
        yield Pack("parquet", path, first, min(rule.items, rows - first), size=size)


def items(pack: Pack, column: str | None = None) -> Iterator[Item]:
    """Yield the items of a pack.

    Raises
    ------
    ManifestError
        The file has no audio column, or not the one that was named.
    AudioError
        It cannot be opened or read.
    """
    name = pack.path.rpartition("/")[2]
    with open_input(pack.path) as raw:
        file = _opened(pack.path, raw)
        chosen = _column(pack.path, file.schema_arrow.names, column)
        for number, row in _rows(pack, file):
            audio = row.pop(chosen)
            yield _item(pack.path, f"{name}, row {number}", chosen, audio, {k: _plain(v) for k, v in row.items()})


def _opened(path: str, raw: Any) -> Any:
    pyarrow("A Parquet file")
    from pyarrow import ArrowException, parquet

    try:
        return parquet.ParquetFile(raw)
    except (ArrowException, OSError, ValueError) as error:
        raise ManifestError(path, f"it is no Parquet file ({error})") from error


def _column(path: str, names: list[str], column: str | None) -> str:
    for name in NAMES if column is None else (column,):
        if name in names:
            return name
    wanted = f"column {column!r}" if column else f"column {', '.join(NAMES)}"
    raise ManifestError(path, f"it has no {wanted}, but {', '.join(names)}; name the one with the audio (--column)")


def _rows(pack: Pack, file: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield number and content of the pack's rows, of the row groups that hold them."""
    assert pack.items is not None
    begin, end = pack.first, pack.first + pack.items
    groups, at, start = list[int](), 0, 0
    for group in range(file.metadata.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if at < end and at + rows > begin:
            start = start if groups else at
            groups.append(group)
        at += rows
    with typed(pack.path, "reading"):
        for batch in file.iter_batches(_BATCH_ROWS, row_groups=groups):
            if start + batch.num_rows > begin and start < end:
                for place, row in enumerate(batch.to_pylist()):
                    if begin <= start + place < end:
                        yield start + place, row
            start += batch.num_rows
            if start >= end:
                return


def _item(path: str, name: str, column: str, audio: Any, line: dict[str, Any]) -> Item:
    content, file = (audio.get("bytes"), audio.get("path")) if isinstance(audio, dict) else (audio, None)
    if isinstance(content, str):
        content, file = None, content
    line = {**line, column: file if isinstance(file, str) else None}
    if isinstance(content, bytes) and content:
        return Item(name, line, content)
    if isinstance(file, str) and file:
        return Item(name, line, beside(path, file))
    problem: TdtError = AudioError(f"{name} holds no sound in the column {column!r}; bytes or a path were expected.")
    return Item(name, line, problem=problem)


def _plain(value: Any) -> Any:
    """Return a value that JSON knows."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
