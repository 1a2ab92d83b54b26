"""Lines of a shard as bytes: JSON lines, or Parquet of one schema for all shards of a run."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

from tdt.corpus.columns import OWN_KEYS
from tdt.corpus.files import pyarrow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OTHER = "other"
_WORD = {"text": "string", "start": "double", "end": "double", "confidence": "double", "boosted": "bool"}
_TOKEN = {"id": "int64", "piece": "string", "frame": "int64", "duration": "int64", "start": "double", "end": "double",
          "confidence": "double"}  # fmt: skip
_GAP = {"start": "double", "end": "double"}
_ERROR = {"type": "string", "message": "string", "partial_text": "string"}


def as_jsonl(lines: Sequence[Mapping[str, Any]]) -> bytes:
    """Return one object a line, UTF-8; a line with what UTF-8 cannot carry (half of a surrogate pair) in ASCII."""
    return b"".join([_line(line) for line in lines])


def _line(line: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(line, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(line).encode() + b"\n"


def schema_of(line: Mapping[str, Any]) -> dict[str, str]:
    """Return the columns that the keys of an input's first line become.

    Examples
    --------
    >>> schema_of({"audio_filepath": "a.wav", "duration": 2, "noisy": True, "pred_text": "", "tags": ["x"]})
    {'audio_filepath': 'string', 'duration': 'double', 'noisy': 'bool', 'tags': 'json'}
    """
    kinds = {bool: "bool", int: "double", float: "double", str: "string"}
    return {key: kinds.get(type(value), "json") for key, value in line.items() if key not in (*OWN_KEYS, OTHER)}


def as_parquet(lines: Sequence[Mapping[str, Any]], schema: Mapping[str, str], detail: str) -> bytes:
    """Return a Parquet file.

    Parameters
    ----------
    lines : sequence of mapping
    schema : mapping of str to str
        Columns of the input: string, double, bool, or json for all else. What does not fit its column, and keys that
        have none, stand in the column `other` as a JSON object.
    detail : {"text", "words", "tokens"}
    """
    arrow = pyarrow("Parquet output")
    from pyarrow import parquet

    def struct(fields: Mapping[str, str]) -> Any:
        return arrow.struct([(name, arrow.type_for_alias(kind)) for name, kind in fields.items()])

    own = {"pred_text": arrow.string()}
    own |= {"words": arrow.list_(struct(_WORD))} if detail != "text" else {}
    own |= {"tokens": arrow.list_(struct(_TOKEN))} if detail == "tokens" else {}
    own |= {"gaps": arrow.list_(struct(_GAP)), "error": struct(_ERROR)}
    types = {name: arrow.type_for_alias("string" if kind == "json" else kind) for name, kind in schema.items()}
    rows = [_row(line, schema) for line in lines]
    table = arrow.Table.from_pylist(rows, schema=arrow.schema(types | {OTHER: arrow.string()} | own))
    file = io.BytesIO()
    parquet.write_table(table, file, compression="zstd")
    return file.getvalue()


def _row(line: Mapping[str, Any], schema: Mapping[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    other: dict[str, Any] = {}
    for key, value in line.items():
        if key in OWN_KEYS:
            row[key] = value
        elif value is None and key in schema:
            row[key] = None
        elif schema.get(key) == "json":
            row[key] = json.dumps(value)
        elif _fits(value, schema.get(key, "")):
            row[key] = float(value) if schema[key] == "double" else value
        else:
            other[key] = value
    return row | {OTHER: json.dumps(other) if other else None}


def _fits(value: Any, kind: str) -> bool:
    if kind == "string":
        return isinstance(value, str) and not any("\ud800" <= sign <= "\udfff" for sign in value)
    if kind == "double":
        return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= 1 << 53
    return kind == "bool" and isinstance(value, bool)
