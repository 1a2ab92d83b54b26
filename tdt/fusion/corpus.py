"""Files of text as pieces: a line is a sentence."""

from __future__ import annotations

import gzip
import unicodedata
import zlib
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.errors import CorpusError
from tdt.kernels.fusion.symbols import BEGIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tdt.fusion.pieces import Vocabulary

STEP_BYTES = 1 << 20  # progress is told so often


@dataclass(slots=True)
class Corpus:
    """What was read.

    Attributes
    ----------
    symbols : array of int32
        Sentences one behind the other: -1, ids of the pieces, their number V.
    sentences : int
        Lines that hold something, and parts of lines.
    lines : int
        Lines that hold something.
    unknown : Counter of str
        Characters outside the vocabulary, and how often each occurs.
    broken : int
        Lines that were not taken whole.
    """

    symbols: array[int] = field(default_factory=lambda: array("i"))
    sentences: int = 0
    lines: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    broken: int = 0

    @property
    def tokens(self) -> int:
        """Pieces in all."""
        return len(self.symbols) - 2 * self.sentences

    @property
    def stream(self) -> Any:
        """The symbols as an ndarray of int32."""
        return np.frombuffer(self.symbols, np.int32)

    def texts(self) -> Iterator[Any]:
        """Yield the ids of the pieces of each sentence."""
        stream = self.stream
        begins = np.flatnonzero(stream == BEGIN)
        for begin, end in zip(begins, np.append(begins[1:], len(stream)), strict=True):
            yield stream[begin + 1 : end - 1]


def read_corpus(
    paths: Sequence[Path], vocabulary: Vocabulary, progress: Callable[[str, float, float], None] | None = None
) -> Corpus:
    """Return the sentences of text files.

    White space is stripped and joined. Signs outside the vocabulary count as spaces; a word with letters or digits
    outside is left out, and what comes before and after it are sentences of their own, since a model of words that
    nobody wrote side by side is worse than one of fewer.

    Parameters
    ----------
    paths : sequence of Path
        UTF-8, a sentence a line; perhaps compressed by gzip.
    vocabulary : Vocabulary
    progress : callable, optional
        Told ("reading", bytes read, bytes in all).

    Raises
    ------
    CorpusError
        A file cannot be read or is no UTF-8 text; or there is no text in any.
    """
    corpus, told = Corpus(), 0
    total = sum(_size(path) for path in paths)
    before = 0
    for path in paths:
        for at, line in _lines(path):
            _add(corpus, line, vocabulary)
            if progress is not None and before + at >= told:
                progress("reading", before + at, total)
                told = before + at + STEP_BYTES
        before += _size(path)
    if progress is not None:
        progress("reading", total, total)
    if not corpus.tokens:
        names = ", ".join(map(str, paths))
        raise CorpusError(
            f"{names}: there is no text in {corpus.lines} lines that the model's vocabulary can write. Expected "
            "sentences as they are spoken, one a line, in UTF-8."
        )
    return corpus


def _add(corpus: Corpus, line: str, vocabulary: Vocabulary) -> None:
    words = line.split()
    if not words:
        return
    corpus.lines += 1
    text = " ".join(words)
    outside = vocabulary.outside(text)
    parts = [words]
    if outside:
        text = unicodedata.normalize("NFKC", text)
        corpus.unknown.update({sign: text.count(sign) for sign in outside})
        parts, whole = _parts(text.split(), frozenset(outside))
        corpus.broken += not whole
    for part in parts:
        corpus.symbols.append(BEGIN)
        corpus.symbols.extend(vocabulary.encode(" ".join(part)))
        corpus.symbols.append(len(vocabulary))
        corpus.sentences += 1


def _parts(words: Sequence[str], outside: frozenset[str]) -> tuple[list[list[str]], bool]:
    """Return the words between those that cannot be written, and whether all can, signs as spaces."""
    parts: list[list[str]] = [[]]
    spaces = {ord(sign): " " for sign in outside if not sign.isalnum()}
    for word in words:
        written = word.translate(spaces)
        if outside.isdisjoint(written):
            parts[-1] += written.split()
        else:
            parts.append([])
    return [part for part in parts if part], len(parts) == 1


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise CorpusError(
            f"{path} cannot be read: {error.strerror}. Expected a file of text, a sentence a line."
        ) from error


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield how many bytes of the file were read, and a line."""
    try:
        with path.open("rb") as file:
            packed, read = file.read(2) == b"\x1f\x8b", 0
            file.seek(0)
            for number, line in enumerate(gzip.GzipFile(fileobj=file) if packed else file, start=1):
                read = file.tell() if packed else read + len(line)
                try:
                    yield read, line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    problem = f"{path}, line {number}: the byte 0x{line[error.start]:02x} is no UTF-8"
                    raise CorpusError(f"{problem}. Where the file is in Latin-1: iconv -f LATIN1 -t UTF-8.") from error
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"{path} cannot be read: {error}. Expected a file of text, a sentence a line.") from error
