"""Rows as columns, as Ray Data and others hand them over: which column is the audio, what an error looks like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tdt.audio import AUDIO_SUFFIXES
from tdt.corpus.items import Item
from tdt.corpus.readers.lines import part_of
from tdt.errors import AudioTailError, AudioValueError, ManifestError, OptionError
from tdt.text import Transcript

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tdt.errors import TdtError

NAMES = ("audio", "audio_filepath", "file", "path", "bytes")
OWN_KEYS = ("pred_text", "words", "tokens", "gaps", "error")


class Rows(NamedTuple):
    """The items of a batch, how many there are, and the column that their audio is in."""

    items: Iterator[Item]
    number: int
    column: str


def error_of(error: TdtError) -> dict[str, Any]:
    """Return what a line or a row says of an error: its type, its message, and what was heard of a broken recording."""
    told: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, AudioTailError) and isinstance(error.partial, Transcript):
        told["partial_text"] = error.partial.text
    return {"error": told}


def items_of_columns(columns: Mapping[str, Any], column: str | None) -> Rows:
    """Return the rows of a batch as items, numbered by their line's key `row`.

    Raises
    ------
    OptionError
        There is no audio column, or columns differ in length.
    """
    chosen = _chosen(columns, column)
    count = len(columns[chosen])
    uneven = {name: len(values) for name, values in columns.items() if len(values) != count}
    if uneven:
        raise OptionError("columns", uneven, f"columns of {count} rows each, as {chosen!r} has")
    offsets, durations = (columns.get(name, [None] * count) for name in ("offset", "duration"))
    items = (_item(number, columns[chosen][number], offsets[number], durations[number]) for number in range(count))
    return Rows(items, count, chosen)


def _chosen(columns: Mapping[str, Any], column: str | None) -> str:
    if column is not None:
        if column not in columns:
            raise OptionError("audio", column, f"one of the columns that are there: {', '.join(columns)}")
        return column
    for name in (*NAMES, *columns):
        if name in columns and (name in NAMES or f".{name.rpartition('.')[2].lower()}" in AUDIO_SUFFIXES):
            return name
    raise OptionError(
        "columns", ", ".join(columns), f"a column with the audio, such as {', '.join(NAMES)}; name it: audio="
    )


def _item(number: int, audio: Any, offset: Any, duration: Any) -> Item:
    line, name = {"row": number}, f"row {number}"
    if isinstance(audio, dict):
        encoded = audio.get("bytes")
        audio = encoded if encoded is not None else audio.get("path", audio.get("array"))
    if isinstance(audio, str) and audio:
        try:
            return Item(audio, line, audio, *part_of(_number(offset), _number(duration)))
        except ValueError as error:
            return Item(name, line, problem=ManifestError(name, str(error)))
    if isinstance(audio, (bytes, bytearray, memoryview)):
        return Item(name, line, bytes(audio))
    if hasattr(audio, "dtype") or hasattr(audio, "__dlpack__"):
        return Item(name, line, audio)
    kind = type(audio).__name__
    return Item(name, line, problem=AudioValueError(f"{name} holds {kind}; a path, bytes, or an array was expected."))


def _number(value: Any) -> Any:
    """Return a table's number as Python's, and NaN, as tables have it where nothing is, as None; all else as it is."""
    if value is None or value != value:  # noqa: PLR0124
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return value


def without_audio(columns: Mapping[str, Any], column: str, *, keep: bool) -> dict[str, Any]:
    """Return the columns that go on: our own are made anew, and encoded sound is left out unless it is to be kept."""
    path = len(columns[column]) and all(isinstance(value, str) for value in columns[column])
    return {
        name: values for name, values in columns.items() if name not in OWN_KEYS and (keep or path or name != column)
    }
