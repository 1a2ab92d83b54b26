"""One table, several ways to write it: text for a terminal, Markdown, CSV, HTML."""

from __future__ import annotations

import csv
import html
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True)
class Table:
    """Heads and rows of text.

    Parameters
    ----------
    heads : tuple of str
    rows : tuple of tuple of str
        As wide as `heads`.
    left : int
        Columns from the left that hold words and are aligned left; numbers are aligned right.
    words_last : bool
        The last column holds words too.
    title : str
        Empty for none.
    notes : tuple of str
        Lines below the table.
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int = 1
    words_last: bool = False
    title: str = ""
    notes: tuple[str, ...] = ()


def to_text(table: Table) -> str:
    """Return the table in aligned columns."""
    widths = [max(len(cell) for cell in column) for column in zip(table.heads, *table.rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        aligned = [
            cell.ljust(width) if _is_words(table, index) else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(aligned).rstrip()

    lines = [table.title] if table.title else []
    lines += [line(table.heads), line(["─" * width for width in widths])]
    lines += [line(row) for row in table.rows]
    return "\n".join([*lines, *table.notes]) + "\n"


def to_markdown(table: Table) -> str:
    """Return the table in GitHub's Markdown."""
    marks = [":--" if _is_words(table, index) else "--:" for index in range(len(table.heads))]
    lines = [f"**{table.title}**", ""] if table.title else []
    lines += ["| " + " | ".join(cells) + " |" for cells in (_escaped(table.heads), marks)]
    lines += ["| " + " | ".join(_escaped(row)) + " |" for row in table.rows]
    lines += ["", *(f"- {note}" for note in table.notes)] if table.notes else []
    return "\n".join(lines) + "\n"


def _is_words(table: Table, column: int) -> bool:
    return column < table.left or (table.words_last and column == len(table.heads) - 1)


def _escaped(cells: Sequence[str]) -> list[str]:
    return [cell.replace("|", "\\|").replace("\n", " ") for cell in cells]


def to_csv(table: Table) -> str:
    """Return heads and rows as comma-separated values; title and notes are left out."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([table.heads, *table.rows])
    return stream.getvalue()


def to_html(table: Table) -> str:
    """Return a table element; every text is escaped."""

    def cells(tag: str, texts: Sequence[str]) -> str:
        return "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in texts)

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in table.rows)
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in table.notes)
    last = " words-last" if table.words_last else ""
    title = f"<h2>{html.escape(table.title)}</h2>" if table.title else ""
    return f'{title}<table class="left{table.left}{last}"><tr>{cells("th", table.heads)}</tr>{body}</table>{notes}'


WRITERS: dict[str, Callable[[Table], str]] = {
    "table": to_text,
    "markdown": to_markdown,
    "csv": to_csv,
    "html": to_html,
}
