"""Read n-gram language models in ARPA's text format, over pieces that are written as one character each.

Source: NeMo `ngram_lm_batched.py: _read_header, _line_to_ngram`, `kenlm_utils.py: tokenize_str`; the format:
SRILM's ngram-format(5).
"""

from __future__ import annotations

import re
from bisect import bisect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.fusion.arpa_text import AGAIN, BUILD, Text, open_text
from tdt.kernels.fusion.arpa_bytes import (
    EXHAUSTED,
    FULL,
    LOW,
    NO_NGRAM,
    NO_TAB,
    TOO_FEW,
    TOO_MANY,
    WORD,
    parse_ngrams,
)
from tdt.kernels.fusion.symbols import BEGIN, END, OFFSET, UNKNOWN
from tdt.showing import shown

if TYPE_CHECKING:
    from pathlib import Path

    from tdt.errors import LanguageModelError

MOST_ORDERS = 10
PER_NATURAL = np.log10(np.e)  # as NeMo has it: natural = decimal / log10(e), in float64
MARKERS = {BEGIN: "<s>", END: "</s>", UNKNOWN: "<unk>"}

_COUNT = re.compile(rb"ngram\s+([0-9]{1,3})\s*=\s*([0-9]{1,12})")


@dataclass(frozen=True, slots=True, eq=False)
class Ngrams:
    """The n-grams of one order, in the order of the file.

    Parameters
    ----------
    symbols : ndarray [shape=(count, order)], int32
        Ids of the pieces, or BEGIN, END, UNKNOWN of :mod:`tdt.kernels.fusion.symbols`.
    weights, backoffs : ndarray [shape=(count,)], float32
        Natural logarithms; a back-off that is not given is 0.
    places : tuple of (int, int)
        From which row on lines are numbered from which line on.
    """

    symbols: Any
    weights: Any
    backoffs: Any
    places: tuple[tuple[int, int], ...]

    def line(self, row: int) -> int:
        """Return the line of the file that a row stands on."""
        first, line = self.places[bisect(self.places, row, key=lambda place: place[0]) - 1]
        return line + row - first

    def text(self, row: int) -> str:
        """Return an n-gram as errors show it: ids and markers."""
        return " ".join(MARKERS.get(symbol, str(symbol)) for symbol in self.symbols[row].tolist())


def read_arpa(path: Path) -> tuple[Ngrams, ...]:
    """Return the n-grams of a file, by order.

    Parameters
    ----------
    path : Path
        An ARPA text in UTF-8, or one that gzip has compressed.

    Raises
    ------
    LanguageModelNotFoundError
        There is no such file.
    LanguageModelError
        It holds something else, ends early, contradicts itself, or is about words. File and line are named.
    """
    with open_text(path) as text:
        counts = _header(text)
        found = tuple(_section(text, order, count) for order, count in enumerate(counts, start=1))
        if text.skip_empty() != b"\\end\\":
            raise text.fail(r"\end\ is missing after the last n-gram: the file was cut short")
    return found


def _header(text: Text) -> list[int]:
    """Read what comes before the n-grams; return how many there are, by order."""
    first = text.skip_empty()
    if first != b"\\data\\":
        raise text.fail(rf"it begins with {_shown(first)}, expected \data\: this is no ARPA text", BUILD)
    text.skip()
    counts: list[int] = []
    while (line := text.skip_empty()) is not None and not line.startswith(b"\\"):
        found = _COUNT.fullmatch(line)
        if not found or int(found[1]) != len(counts) + 1 or len(counts) == MOST_ORDERS:
            expected = f"expected 'ngram {len(counts) + 1}=' and a number; orders go from 1 to {MOST_ORDERS} at most"
            raise text.fail(f"{_shown(line)} stands where numbers of n-grams do, {expected}")
        counts.append(int(found[2]))
        text.skip()
    if not counts:
        raise text.fail("no numbers of n-grams ('ngram 1=…') follow", AGAIN)
    return counts


def _section(text: Text, order: int, count: int) -> Ngrams:
    """Read the n-grams of an order."""
    title = f"\\{order}-grams:"
    if text.skip_empty() != title.encode():
        raise text.fail(f"{_shown(text.peek())} stands where {title} is expected")
    text.skip()
    parts: list[tuple[Any, Any]] = [(np.empty((0, order), np.int32), np.empty((0, 2), np.float32))]
    rows, places = 0, [(0, text.number)]
    while text.skip_empty() is not None:
        places.append((rows, text.number))
        symbols, numbers = _lines(text, order, count - rows)
        if not len(symbols):
            break
        parts.append((symbols, numbers))
        rows += len(symbols)
    if rows != count:
        after = "and the file ends" if text.peek() is None else f"before {_shown(text.peek())}"
        raise text.fail(
            f"{rows} of the {count} {order}-grams that the head promises are there, {after}: it was cut short"
        )
    values = np.concatenate([numbers for _, numbers in parts])
    weights, backoffs = np.ascontiguousarray(values.T)
    ngrams = Ngrams(np.concatenate([symbols for symbols, _ in parts]), weights, backoffs, tuple(places))
    above = np.flatnonzero(weights > 0)
    if len(above):
        row, line = int(above[0]), ngrams.line(int(above[0]))
        raise text.fail(f"the probability of {ngrams.text(row)!r} is above 1 (a positive logarithm)", line=line)
    return ngrams


def _lines(text: Text, order: int, room: int) -> tuple[Any, Any]:
    """Return symbols and numbers, natural logarithms, of the n-grams that lie ready; none where another line comes."""
    block = np.frombuffer(text.data, np.uint8)[: text.complete]
    most = min(room, (text.complete - text.at) // (2 + 2 * order) + 1)
    symbols, numbers = np.empty((most, order), np.int32), np.empty((most, 2))
    exact = np.empty((most, 2), np.bool_)
    rows, at, reason = parse_ngrams(block, text.at, symbols, numbers, exact)
    for row, column in np.argwhere(~exact[:rows]).tolist():
        numbers[row, column] = _plain(text, int(numbers[row, column]), text.number + row, b"\n" if column else b"\t")
    with np.errstate(over="ignore"):
        natural = (numbers[:rows] / PER_NATURAL).astype(np.float32)
    if not np.isfinite(natural).all():
        row = int(np.flatnonzero(~np.isfinite(natural).all(axis=1))[0])
        raise text.fail("a logarithm is not a finite number", line=text.number + row)
    text.at, text.number = at, text.number + rows
    if reason not in (EXHAUSTED, NO_NGRAM):
        raise _wrong(text, order, room, reason)
    return symbols[:rows], natural


def _plain(text: Text, at: int, line: int, end: bytes) -> float:
    """Read a number as Python does."""
    word = text.data[at : text.data.index(end, at)].rstrip(b"\r")
    try:
        return float(word)
    except ValueError as error:
        raise text.fail(f"{_shown(word)} is no number", line=line) from error


def _wrong(text: Text, order: int, room: int, reason: int) -> LanguageModelError:
    """Return the error about the next line."""
    line = text.peek() or b""
    if reason == FULL:
        return text.fail(f"there are more {order}-grams than the head promises; {room} were left when this one came")
    if reason == NO_TAB:
        return text.fail(f"{_shown(line)} has no tab between weight and symbols")
    symbols = line.split(b"\t")[1]
    problems = {
        WORD: f"{_shown(symbols)} holds a symbol of several characters: this is a model of words",
        LOW: f"{_shown(symbols)} holds a symbol of no piece (a piece is the character of its id + {OFFSET})",
        TOO_FEW: f"{_shown(symbols)} is no {order}-gram, it has too few symbols",
        TOO_MANY: f"{_shown(symbols)} is no {order}-gram, it has too many symbols",
    }
    return text.fail(problems[reason], BUILD if reason in (WORD, LOW) else AGAIN)


def _shown(line: bytes | None) -> str:
    return "the end of the file" if line is None else shown(line.decode("utf-8", "backslashreplace"), 80)
