"""Manifests: a JSON object a line. Their lines travel as they are; what one holds is the format's own affair."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any

from tdt.corpus.files import open_input
from tdt.corpus.items import Pack
from tdt.errors import ManifestError
from tdt.failures import typed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tdt.corpus.shards import ShardRule

_SHOWN_CHARACTERS = 200


def line_packs(path: str, form: str, rule: ShardRule, length_of: Callable[[Any], object]) -> Iterator[Pack]:
    """Yield the packs of a manifest; empty lines are none of its items.

    Parameters
    ----------
    path : str
    form : str
        The packs' format.
    rule : ShardRule
    length_of : callable
        Says how long what a parsed line describes is, as it stands there.
    """
    first = 0
    with open_input(path) as file, typed(path, "reading"):
        kept = (line for line in file if not line.isspace())
        while block := list(islice(kept, rule.items)):
            lengths = [_seconds(length_of(value)) for value in parsed(block)]
            begin = 0
            for end in rule.cuts(lengths):
                text = b"".join(block[begin:end])
                known = tuple(lengths[begin:end])
                seconds = sum(length or 0.0 for length in known)
                yield Pack(form, path, first + begin, end - begin, seconds, text, lengths=known)
                begin = end
            first += len(block)


def parsed(lines: list[bytes]) -> list[Any]:
    """Return what each line holds, None where it is no JSON object; all at once where that goes, which is faster."""
    try:
        values = json.loads(b"[" + b",".join(lines) + b"]")
    except (ValueError, RecursionError):
        values = []
    # A line could close the list and open another; then the numbers differ, or not all are objects.
    if len(values) != len(lines) or not all(type(value) is dict for value in values):
        values = [_object(line) for line in lines]
    return list(values)


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _seconds(value: object) -> float | None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e9
    return float(value) if good else None  # type: ignore[arg-type]


def objects(pack: Pack) -> Iterator[tuple[int, dict[str, Any] | None, str]]:
    """Yield number (from 1, empty lines not counted), content and text of each line of a pack."""
    lines = pack.text.split(b"\n")
    kept = [line for line in lines if line and not line.isspace()]
    for number, (line, value) in enumerate(zip(kept, parsed(kept), strict=True), start=pack.first + 1):
        yield number, value, line.decode("utf-8", "backslashreplace")


def malformed(path: str, number: int, text: str) -> tuple[dict[str, Any], ManifestError]:
    """Return the output's line for a line that is no JSON object, and its error."""
    shown = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
    return {"line": shown}, ManifestError(path.rpartition("/")[2], "it is no JSON object", number)


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
