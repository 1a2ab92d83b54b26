"""Manifests: a JSON object a line. Their lines travel as they are; what one holds is the format's own affair."""

from __future__ import annotations

import json
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from tdt.corpus.files import beside, open_input
from tdt.corpus.items import Item, Pack
from tdt.errors import ManifestError
from tdt.failures import typed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tdt.corpus.shards import ShardRule

_SHOWN_CHARACTERS = 200
_MOST_SECONDS = 1e9


def line_packs(path: str, form: str, rule: ShardRule, key: str) -> Iterator[Pack]:
    """Yield the packs of a manifest; empty lines are none of its items.

    Parameters
    ----------
    path : str
    form : str
        The packs' format.
    rule : ShardRule
    key : str
        Says how long what a line describes is, in seconds.
    """
    first = 0
    with open_input(path) as file, typed(path, "reading"):
        while block := _block(file, rule.items):
            lengths = _lengths([None if value is None else value.get(key) for value in parsed(block)])
            begin = 0
            for end in rule.cuts(lengths):
                text = b"".join(block[begin:end])
                known = tuple(lengths[begin:end])
                seconds = sum(length or 0.0 for length in known)
                yield Pack(form, path, first + begin, end - begin, seconds, text, lengths=known)
                begin = end
            first += len(block)


def _block(file: IO[bytes], items: int) -> list[bytes]:
    """Return the next lines that are not empty."""
    block: list[bytes] = []
    while more := list(islice(file, items - len(block))):
        block += [line for line in more if not line.isspace()] if any(map(bytes.isspace, more)) else more
    return block


def _lengths(values: list[object]) -> list[float | None]:
    plain = set(map(type, values)) == {float}
    if plain and min(values) >= 0 and max(values) < _MOST_SECONDS:  # type: ignore[type-var, operator]
        return values  # type: ignore[return-value]
    return [_seconds(value) for value in values]


def parsed(lines: list[bytes]) -> list[Any]:
    """Return what each line holds, None where it is no JSON object; all at once where that goes, which is faster."""
    try:
        values = json.loads(b"[" + b",".join(lines) + b"]")
    except (ValueError, RecursionError):
        values = []
    # A line could close the list and open another; then the numbers differ, or not all are objects.
    if len(values) != len(lines) or set(map(type, values)) != {dict}:
        values = [_object(line) for line in lines]
    return list(values)


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _seconds(value: object) -> float | None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < _MOST_SECONDS
    return float(value) if good else None  # type: ignore[arg-type]


def objects(pack: Pack) -> Iterator[tuple[int, dict[str, Any] | None, str]]:
    """Yield number (from 1, empty lines not counted), content and text of each line of a pack."""
    lines = pack.text.split(b"\n")
    kept = [line for line in lines if line and not line.isspace()]
    for number, (line, value) in enumerate(zip(kept, parsed(kept), strict=True), start=pack.first + 1):
        yield number, value, line.decode("utf-8", "backslashreplace")


class Described(NamedTuple):
    """What a line says of a recording: its name, its file as the line has it, and which part of it is meant."""

    name: str
    file: str
    offset: float
    duration: float | None


def line_items(pack: Pack, described: Callable[[dict[str, Any]], Described]) -> Iterator[Item]:
    """Yield the items of a pack; a line that is none is an item with its problem.

    Parameters
    ----------
    pack : Pack
    described : callable
        Returns what a line says; raises ValueError where it is none of its format, and says why.
    """
    for number, line, text in objects(pack):
        if line is None:
            shown = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
            yield _problem(pack, number, {"line": shown}, "it is no JSON object")
            continue
        try:
            found = described(line)
        except ValueError as error:
            yield _problem(pack, number, line, str(error))
            continue
        yield Item(found.name, line, beside(pack.path, found.file), found.offset, found.duration)


def _problem(pack: Pack, number: int, line: dict[str, Any], problem: str) -> Item:
    name = pack.path.rpartition("/")[2]
    return Item(f"{name}, line {number}", line, problem=ManifestError(name, problem, number))


def part_of(offset: object, duration: object) -> tuple[float, float | None]:
    """Return which part of a recording a line asks for, in seconds.

    Raises
    ------
    ValueError
        It says it by something else than numbers from 0 on.
    """
    begin, length = (_seconds(value) for value in (offset, duration))
    if (offset is not None and begin is None) or (duration is not None and length is None):
        raise ValueError(f"offset {offset!r} and duration {duration!r} are no part of a recording, in seconds")
    return begin or 0.0, length


def first_object(path: str, head: bytes) -> dict[str, Any]:
    """Return the first line of a manifest, which decides that it is one.

    Raises
    ------
    ManifestError
        It is none.
    """
    lines = [line for line in head.split(b"\n") if line and not line.isspace()]
    if not lines:
        raise ManifestError(path, "it is empty")
    first = _object(lines[0])
    if first is None:
        with open_input(path) as file:  # longer than what was looked at
            first = _object(next((line for line in file if not line.isspace()), b""))
    if first is None:
        raise ManifestError(path, "it is no JSON object", 1)
    if not {"audio_filepath", "recording", "type"} & set(first):
        raise ManifestError(path, "its object has neither audio_filepath (NeMo) nor recording (Lhotse)", 1)
    return first
