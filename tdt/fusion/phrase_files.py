"""Files of phrases: one a line, perhaps with a weight."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

from tdt.errors import OptionError, PhraseFileError

MAX_BYTES = 256 << 20
_SHERPA = re.compile(r"(.*\S)\s+:\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)")  # sherpa-onnx writes `text :2.0`


def read_phrases(path: str | os.PathLike[str]) -> list[tuple[str, float]]:
    """Return phrases and weights, 1 where none is given, in the file's order.

    Parameters
    ----------
    path : path
        UTF-8, one phrase a line. `text<TAB>2.0` and `text :2.0` give a weight. Empty lines, and lines that begin with
        `#`, are passed over.

    Raises
    ------
    OptionError
        Where `path` is none.
    PhraseFileError
        Where the file is not there, no such text, or a weight no number; names the line.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise OptionError("path", path, "a path")
    where = Path(path)
    try:
        size = where.stat().st_size
        content = where.read_bytes() if size <= MAX_BYTES else b""
    except (OSError, ValueError) as error:  # a path with a zero in it is a ValueError
        raise PhraseFileError(where, f"it cannot be read ({getattr(error, 'strerror', error)})") from error
    if size > MAX_BYTES:
        raise PhraseFileError(where, f"it has {size >> 20} MB, more than {MAX_BYTES >> 20}")
    try:
        lines = content.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise PhraseFileError(where, f"it is not UTF-8 text (byte {error.start})", number) from error
    found = []
    for number, line in enumerate(lines, 1):
        entry = line.strip()
        if entry and not entry.startswith("#"):
            found.append(_parsed(entry, number, where))
    return found


def _parsed(entry: str, number: int, path: Path) -> tuple[str, float]:
    text, tab, weight = entry.rpartition("\t")
    if not tab:
        sherpa = _SHERPA.fullmatch(entry)
        if sherpa is None:
            return entry, 1.0
        text, weight = sherpa.groups()
    try:
        value = float(weight)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise PhraseFileError(path, f"{weight.strip()!r} is no weight", number)
    return text.strip(), value
