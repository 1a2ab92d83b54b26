"""Scripts of pieces, and the pieces that a recogniser may emit to keep to some: masks for decoding.

The standard library knows no scripts, but the name of a letter begins with its own: LATIN SMALL LETTER A. That is
enough for letters (`tests/fusion/test_scripts.py` compares with the Unicode tables), and needs no further package.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tdt.errors import OptionError
from tdt.fusion.pieces import UNKNOWN_PIECE, Vocabulary, is_special, vocabulary_of

if TYPE_CHECKING:
    from collections.abc import Iterable

# First words of names that are not the script's; "" for letters of all scripts.
_NAMED = {
    "cjk": "han", "ideographic": "han", "hentaigana": "hiragana", "katakana-hiragana": "",
    "kelvin": "latin", "angstrom": "latin", "feminine": "latin", "masculine": "latin", "turned": "latin",
    "roman": "latin",
    "ohm": "greek", "modifier": "", "micro": "", "caron": "", "vertical": "", "vedic": "", "masu": "",
    "mathematical": "", "double-struck": "", "script": "", "black-letter": "", "euler": "", "planck": "",
    "alef": "", "bet": "", "gimel": "", "dalet": "", "information": "",
}  # fmt: skip
_SHAPE = re.compile(r"(?:FULLWIDTH|HALFWIDTH|SUPERSCRIPT) ")
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def script_of(character: str) -> str:
    """Return the script of a letter, such as "latin"; "" for what belongs to all: digits, marks, signs."""
    name = unicodedata.name(character, "") if character.isalpha() else ""
    first = _SHAPE.sub("", name).partition(" ")[0].lower()
    return _NAMED.get(first, first)


def scripts_of(piece: str) -> frozenset[str]:
    """Return the scripts of a piece's letters; none of digits, marks, spaces and special pieces."""
    byte = _BYTE.fullmatch(piece)
    if byte is not None:  # a byte of UTF-8: an ASCII letter, or part of a character of any script
        value = int(byte[1], 16)
        return frozenset({script_of(chr(value))} - {""}) if value < 128 else frozenset({"bytes"})
    return frozenset() if is_special(piece) else frozenset(map(script_of, piece)) - {""}


def count_scripts(pieces: object) -> dict[str, int]:
    """Return how many pieces have letters of each script, the most frequent first.

    Parameters
    ----------
    pieces : Vocabulary, or an object with `spec.pieces` or `pieces`, or a sequence of str

    Returns
    -------
    dict of str to int
        Script → pieces; pieces with letters of two scripts count for both. Last, if there are some, "no letters":
        digits, marks and the space; and "special": `<unk>`, `<|en|>` and the like.
    """
    return dict(_counted(vocabulary_of(pieces)))


def allowed_pieces(pieces: object, script: str | Iterable[str]) -> frozenset[int]:
    """Return the token ids that keep to scripts.

    A piece is allowed where all its letters are of these scripts, so digits, marks and `▁` always are. Special pieces
    such as `<|en|>` are, too: they write nothing. `<unk>` is not, since it stands for characters of any script.

    Parameters
    ----------
    pieces : Vocabulary, or an object with `spec.pieces` or `pieces`, or a sequence of str
    script : str or iterable of str
        Such as "latin", "cyrillic", "greek", "han", "hiragana"; in any case.

    Raises
    ------
    OptionError
        Where a script is none of the vocabulary's; lists those that it has.
    """
    vocabulary = vocabulary_of(pieces)
    given: Any = (script,) if isinstance(script, str) else script
    try:
        wanted = tuple(name.casefold() for name in given)
    except (TypeError, AttributeError):
        wanted = ()
    known = {name: count for name, count in _counted(vocabulary) if name not in {"no letters", "special", "bytes"}}
    if not wanted or not known.keys() >= set(wanted):
        listed = ", ".join(f"{name} ({count} pieces)" for name, count in known.items())
        raise OptionError("script", script, f"one or several of the scripts that the vocabulary has: {listed}")
    return _allowed(vocabulary, frozenset(wanted))


@lru_cache(maxsize=8)
def _counted(vocabulary: Vocabulary) -> tuple[tuple[str, int], ...]:
    counts: dict[str, int] = {}
    others = {"no letters": 0, "special": 0}
    for piece in vocabulary.pieces:
        found = scripts_of(piece)
        for name in found:
            counts[name] = counts.get(name, 0) + 1
        if not found:
            others["special" if is_special(piece) else "no letters"] += 1
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return (*ordered, *((name, count) for name, count in others.items() if count))


@lru_cache(maxsize=32)
def _allowed(vocabulary: Vocabulary, wanted: frozenset[str]) -> frozenset[int]:
    return frozenset(
        token for token, piece in enumerate(vocabulary.pieces) if piece != UNKNOWN_PIECE and scripts_of(piece) <= wanted
    )
