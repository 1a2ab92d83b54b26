"""What was said, from text files that people wrote: UTF-8 with or without a byte order mark, or UTF-16 with one."""

from __future__ import annotations

import codecs
import csv
import io
from typing import TYPE_CHECKING

from tdt.errors import OptionError

if TYPE_CHECKING:
    from pathlib import Path

_NAME = "references"
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: Path) -> str:
    """Return the content of a text file.

    Other encodings are not guessed at: a wrong guess would be counted as errors of the model.

    Raises
    ------
    OptionError
        It cannot be read, or is in another encoding.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise OptionError(_NAME, str(path), f"a readable file of text ({error.strerror})") from error
    encoding = "utf-16" if raw.startswith(_UTF16_MARKS) else "utf-8-sig"
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        expected = (
            f"text in UTF-8; line {line} holds the byte 0x{raw[error.start]:02x}, which is none there. Where the file "
            "is in Latin-1, convert it: iconv -f LATIN1 -t UTF-8"
        )
        raise OptionError(_NAME, str(path), expected) from error


def read_rows(path: Path) -> list[list[str]]:
    """Return the rows of a file of tab-separated lines, without empty ones; quotes are text like any other.

    Raises
    ------
    OptionError
        It cannot be read, or a line has no tab.
    """
    try:
        lines = csv.reader(io.StringIO(read_text(path), newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
        rows = [row for row in lines if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise OptionError(_NAME, str(path), f"a readable file of lines 'file<TAB>text' ({error})") from error
    short = next((row for row in rows if len(row) < 2), None)
    if short is not None:
        raise OptionError(_NAME, str(path), f"lines of a file name, a tab and the text ({short[0][:40]!r} has no tab)")
    return rows
