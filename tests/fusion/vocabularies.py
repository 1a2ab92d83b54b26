"""Vocabularies for the tests of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tdt.model.vocabulary import read_vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tdt.fusion import Vocabulary

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/data"
TINY = read_vocabulary(ROOT / "tdt/models/parakeet-tdt-tiny/vocab.txt")


def pieces_of(vocabulary: Vocabulary, tokens: Iterable[int]) -> str:
    """Return tokens as pieces with spaces between."""
    return " ".join(vocabulary.pieces[token] for token in tokens)
