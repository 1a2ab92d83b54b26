"""Scripts of letters and pieces, and the masks made of them."""

from __future__ import annotations

import sys
import unicodedata
from typing import Any

import pytest

from tdt.errors import OptionError
from tdt.fusion import Vocabulary, allowed_pieces, count_scripts
from tdt.fusion.scripts import script_of, scripts_of

from .vocabularies import TINY

MIXED = (
    "<unk>", "<|en|>", "<pad>", "▁the", "жа", "▁", ",", "7", "▁«", "αβ", "語", "かな", "カナー", "aж", "µ", "é", "'",
    "<blk>",
)  # fmt: skip
LIVING = [
    "latin", "cyrillic", "greek", "armenian", "georgian", "hebrew", "arabic", "devanagari", "bengali", "gurmukhi",
    "gujarati", "tamil", "telugu", "kannada", "malayalam", "sinhala", "thai", "lao", "tibetan", "myanmar", "khmer",
    "ethiopic", "hangul", "hiragana", "katakana", "han", "bopomofo", "mongolian", "cherokee",
]  # fmt: skip


def names(script: Any) -> set[str]:
    return {MIXED[token] for token in allowed_pieces(MIXED, script)}


def test_letters_have_the_scripts_of_unicode() -> None:
    """Of the living scripts; letters that Unicode gives to all, or that only modify others, may be of none."""
    tables = pytest.importorskip("fontTools.unicodedata")
    compared = dict.fromkeys(LIVING, 0)
    for letter in map(chr, range(sys.maxunicode + 1)):
        if not letter.isalpha():
            continue
        ours, theirs = script_of(letter), tables.script_name(tables.script(letter)).lower()
        modifies = unicodedata.category(letter) in {"Lm", "Sk"} or theirs in {"common", "inherited"}
        if (ours in compared or theirs in compared) and not modifies:
            assert ours == theirs, f"{letter} {unicodedata.name(letter, '?')}: {ours}, not {theirs}"
            compared[theirs] += 1
    assert all(compared[script] > 20 for script in LIVING)


@pytest.mark.parametrize("character", ["7", "٣", "Ⅷ", "▁", ",", "«", "¿", "\u0301", "ʼ", "µ", "€", "☃", "\u0000", "ー"])
def test_what_belongs_to_all_has_no_script(character: str) -> None:
    assert script_of(character) == ""


def test_pieces_have_the_scripts_of_their_letters() -> None:
    assert scripts_of("▁the,") == {"latin"}
    assert scripts_of("aж") == {"latin", "cyrillic"}
    assert scripts_of("<|en|>") == scripts_of("▁7,") == frozenset()
    assert scripts_of("<") == frozenset()
    assert scripts_of("<0x41>") == {"latin"}
    assert scripts_of("<0x20>") == frozenset()
    assert scripts_of("<0xC3>") == {"bytes"}


def test_pieces_of_a_script() -> None:
    always = {"<|en|>", "<pad>", "▁", ",", "7", "▁«", "µ", "'"}
    assert names("latin") == always | {"▁the", "é"}
    assert names("Cyrillic") == always | {"жа"}
    assert names(("latin", "cyrillic")) == names(["cyrillic", "latin"]) == always | {"▁the", "é", "жа", "aж"}
    assert names({"han", "hiragana", "katakana"}) == always | {"語", "かな", "カナー"}
    assert allowed_pieces(Vocabulary(MIXED), "greek") == allowed_pieces(MIXED, "greek")


@pytest.mark.parametrize(
    "script", ["thai", "", (), ("latin", "thai"), None, 7, b"latin", [None], "latin greek", "special"]
)
def test_scripts_that_the_vocabulary_has_not_are_refused(script: Any) -> None:
    with pytest.raises(
        OptionError, match=r"has: cyrillic \(2 pieces\), latin \(3 pieces\)|has: latin \(3 pieces\), cyr"
    ):
        allowed_pieces(MIXED, script)


def test_the_tiny_model_writes_latin() -> None:
    assert count_scripts(TINY) == {"latin": 249, "no letters": 6, "special": 1}
    assert allowed_pieces(TINY, "latin") == frozenset(range(1, 256))


def test_pieces_are_counted_by_script() -> None:
    counted = count_scripts(MIXED)
    assert list(counted.items())[:2] == [("latin", 3), ("cyrillic", 2)]
    assert counted == {
        "latin": 3, "cyrillic": 2, "greek": 1, "han": 1, "hiragana": 1, "katakana": 1, "no letters": 6, "special": 3
    }  # fmt: skip
