"""Write a language model as ARPA text in NeMo's encoding: a piece is the character of its id + 100."""

from __future__ import annotations

import gzip
import io
from contextlib import contextmanager
from itertools import pairwise
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from tdt.errors import OptionError, OutputError
from tdt.kernels.fusion.symbols import BEGIN, OFFSET
from tdt.whole_files import written_whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tdt.fusion.estimating import Estimated, Model

MOST_PIECES = 0xD800 - OFFSET  # from there on, characters are none that UTF-8 writes
_ROWS = 1 << 16


def symbol_names(pieces: int) -> list[str]:
    """Return how symbols are written: pieces by id, then `</s>`, and `<s>` at the end, for the index -1."""
    if pieces > MOST_PIECES:
        raise OptionError(
            "vocabulary", pieces, f"at most {MOST_PIECES} pieces, which are written as one character each"
        )
    return [*map(chr, range(OFFSET, OFFSET + pieces)), "</s>", "<s>"]


def write_arpa(path: Path, model: Model, pieces: int) -> None:
    """Write a model; the file is there whole or not at all, compressed where its name ends in .gz.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    names = symbol_names(pieces)
    with written_aside(path) as binary, io.TextIOWrapper(binary, "utf-8", newline="\n") as file:
        file.write("\\data\\\n")
        for order, level in enumerate(model.levels, start=1):
            file.write(f"ngram {order}={len(level.weights) + (order == 1)}\n")
        for order, level in enumerate(model.levels, start=1):
            file.write(f"\n\\{order}-grams:\n")
            if order == 1:
                file.write(f"{model.unknown:.6f}\t<unk>\t0\n")
            for line in _lines(level, names, highest=order == len(model.levels)):
                file.write(line)
        file.write("\n\\end\\\n")


def _lines(level: Estimated, names: list[str], *, highest: bool) -> Iterator[str]:
    for first in range(0, len(level.weights), _ROWS):
        rows = slice(first, first + _ROWS)
        backoffs = level.backoffs[rows].tolist()
        for symbols, weight, backoff in zip(
            level.symbols[rows].tolist(), level.weights[rows].tolist(), backoffs, strict=True
        ):
            tail = "" if highest else f"\t{backoff:.6f}"
            yield f"{weight:.6f}\t{' '.join([names[symbol] for symbol in symbols])}{tail}\n"


def write_sentences(file: IO[bytes], stream: Any, pieces: int) -> None:
    """Write a corpus in the same encoding, a sentence a line, for tools that count themselves."""
    names = symbol_names(pieces)
    begins = np.append(np.flatnonzero(stream == BEGIN), len(stream)).tolist()
    for begin, end in pairwise(begins):
        file.write(" ".join([names[symbol] for symbol in stream[begin + 1 : end - 1].tolist()]).encode() + b"\n")


@contextmanager
def written_aside(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes the name `path` when the block ends well; otherwise nothing is left behind.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    try:
        with written_whole(path) as (file, _):
            if path.suffix == ".gz":
                # Without name and time, so that the same model gives the same bytes.
                with gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
                    yield packed  # type: ignore[misc]
            else:
                yield file
    except OSError as error:
        raise OutputError(str(path), str(error.strerror or error)) from error
