"""Error rates of a run against what its lines say was spoken, overall and by the values of a key."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tdt.corpus.files import pyarrow
from tdt.corpus.rendering import OTHER
from tdt.dependencies import extra
from tdt.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path


@dataclass(slots=True)
class Rate:
    """Errors counted; lines that failed and lines without a reference are no part of the rates."""

    lines: int = 0
    words: int = 0
    word_errors: int = 0
    characters: int = 0
    character_errors: int = 0
    failed: int = 0
    unreferenced: int = 0

    @property
    def wer(self) -> float | None:
        """Word error rate, a fraction; None without any words."""
        return self.word_errors / self.words if self.words else None

    @property
    def cer(self) -> float | None:
        """Character error rate, a fraction; None without any characters."""
        return self.character_errors / self.characters if self.characters else None

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {"lines": self.lines, "words": self.words, "wer": self.wer, "cer": self.cer, "failed": self.failed,
                "unreferenced": self.unreferenced}  # fmt: skip


@dataclass(slots=True)
class Scores:
    """The rates of a run: over all lines, and by the values of a key, most words first."""

    overall: Rate = field(default_factory=Rate)
    groups: dict[str, Rate] = field(default_factory=dict)


def read_lines(folder: Path) -> Iterator[list[dict[str, Any]]]:
    """Yield the lines of each part of a run's folder, in order.

    Raises
    ------
    OptionError
        There are none.
    """
    parts = sorted(folder.glob("part-*.jsonl")) or sorted(folder.glob("part-*.parquet"))
    if not parts:
        raise OptionError("OUT", str(folder), "the folder of a run, with part-00000.jsonl or part-00000.parquet")
    for part in parts:
        if part.suffix == ".jsonl":
            with part.open("rb") as file:
                yield [json.loads(line) for line in file]
        else:
            pyarrow("A run's Parquet files")
            from pyarrow import parquet

            rows = parquet.read_table(part).to_pylist()
            yield [{**row, **json.loads(row.get(OTHER) or "{}")} for row in rows]


def score(
    parts: Iterable[Iterable[Mapping[str, Any]]], key: str, normalize: Callable[[str], str], by: str | None = None
) -> Scores:
    """Count the errors of lines.

    Parameters
    ----------
    parts : iterable of iterable of mapping
    key : str
        Which key of a line says what was spoken.
    normalize : callable
        What both texts go through.
    by : str, optional
        Key whose values divide the lines into groups.

    Raises
    ------
    MissingDependencyError
    OptionError
        No line has the key.
    """
    scores = Scores()
    for lines in parts:
        pairs: dict[str | None, list[tuple[str, str]]] = {}
        for line in lines:
            groups = [scores.overall]
            value = None if by is None else str(line.get(by))
            if value is not None:
                groups.append(scores.groups.setdefault(value, Rate()))
            failed, known = bool(line.get("error")), isinstance(line.get(key), str)
            for rate in groups:
                rate.lines += 1
                rate.failed += failed
                rate.unreferenced += not known and not failed
            if known and not failed:
                pairs.setdefault(value, []).append((normalize(line[key]), normalize(line["pred_text"])))
        for value, found in pairs.items():
            _count(found, [scores.overall] if value is None else [scores.overall, scores.groups[value]])
    if scores.overall.unreferenced == scores.overall.lines - scores.overall.failed > 0:
        raise OptionError("--references", key, "a key of the lines that holds what was spoken")
    scores.groups = dict(sorted(scores.groups.items(), key=lambda group: -group[1].words))
    return scores


def _count(pairs: list[tuple[str, str]], rates: list[Rate]) -> None:
    kept = [(reference, text) for reference, text in pairs if reference]
    # What was heard where nothing was spoken is inserted, which jiwer does not count without a reference.
    words_more = sum(len(text.split()) for reference, text in pairs if not reference)
    characters_more = sum(len(text) for reference, text in pairs if not reference)
    words = characters = word_errors = character_errors = 0
    if kept:
        jiwer = _jiwer()
        references, texts = (list(column) for column in zip(*kept, strict=True))
        by_word = jiwer.process_words(references, texts)
        by_sign = jiwer.process_characters(references, texts)
        words = by_word.hits + by_word.substitutions + by_word.deletions
        characters = by_sign.hits + by_sign.substitutions + by_sign.deletions
        word_errors = by_word.substitutions + by_word.deletions + by_word.insertions
        character_errors = by_sign.substitutions + by_sign.deletions + by_sign.insertions
    for rate in rates:
        rate.words += words
        rate.word_errors += word_errors + words_more
        rate.characters += characters
        rate.character_errors += character_errors + characters_more


def _jiwer() -> Any:
    with extra("jiwer", "An error rate", "pip install 'parakeet-tdt[corpus]'"):
        import jiwer
    return jiwer
