"""Pieces to text as SentencePiece and NeMo do it, and the punctuation that a vocabulary supports."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SPACE_SYMBOL = "▁"
UNKNOWN_PIECE = "<unk>"
UNKNOWN_SURFACE = " ⁇ "  # SentencePiece's default surface of the unknown piece

_CONTROL = re.compile(r"<\|.*\|>|</?s>|<pad>|<blk>|<blank>")
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPECIAL = re.compile(r"\[.*\]$|<.*>$|##|▁|\s*$")


def supported_punctuation(pieces: Iterable[str]) -> frozenset[str]:
    """Return the characters of Unicode category P* in pieces that neither start a word nor are special.

    Source: NeMo `extract_punctuation_from_vocab` (nemo/collections/asr/parts/utils/tokenizer_utils.py).
    """
    return frozenset(
        character
        for piece in pieces
        if not _SPECIAL.match(piece)
        for character in piece
        if unicodedata.category(character).startswith("P")
    )


class Detokenizer:
    """Text of token sequences of one vocabulary.

    Parameters
    ----------
    pieces : sequence of str
        Vocabulary; the index is the token id.

    Attributes
    ----------
    punctuation : frozenset of str
        Marks that attach to the word before them (:func:`supported_punctuation`).
    """

    def __init__(self, pieces: Sequence[str]) -> None:
        self._pieces = tuple(pieces)
        self.punctuation = supported_punctuation(self._pieces)
        marks = "|".join(re.escape(mark) for mark in sorted(self.punctuation))
        self._space_before_mark = re.compile(rf"\s({marks})") if marks else None
        self._alone: dict[int, str] = {}

    def piece(self, token_id: int) -> str:
        """Return the piece of a token."""
        return self._pieces[token_id]

    def alone(self, token_id: int) -> str:
        """Return the text of one token decoded by itself, as NeMo's word rules look at it."""
        found = self._alone.get(token_id)
        if found is None:
            found = self._alone[token_id] = self.decode((token_id,))
        return found

    def decode(self, token_ids: Iterable[int]) -> str:
        """Return the text of a token sequence: SentencePiece decode.

        `▁` becomes a space, except at the very beginning; control pieces (`<|…|>`) vanish; the unknown piece shows as
        SentencePiece shows it; runs of byte pieces (`<0xNN>`) are UTF-8, broken bytes become U+FFFD.
        """
        parts: list[str] = []
        pending = bytearray()
        begun = False  # SentencePiece drops the space of every piece until some text stands
        for token_id in token_ids:
            piece = self._pieces[token_id]
            byte = _BYTE.fullmatch(piece)
            if byte:
                pending.append(int(byte[1], 16))
                continue
            if pending:
                parts.append(pending.decode("utf-8", "replace"))
                pending.clear()
                begun = True
            surface = _surface(piece, begun=begun)
            begun = begun or bool(surface)
            parts.append(surface)
        parts.append(pending.decode("utf-8", "replace"))
        return "".join(parts)

    def text(self, token_ids: Iterable[int]) -> str:
        """Return a transcript's text: decoded, then one space before each supported mark taken away.

        Source: NeMo `decode_tokens_to_str_with_strip_punctuation`.
        """
        text = self.decode(token_ids)
        return self._space_before_mark.sub(r"\1", text) if self._space_before_mark else text

    def starts_word(self, token_id: int) -> bool:
        """Say whether the piece differs from its own text and so begins a word (NeMo's rule for BPE).

        Byte pieces are the exception: a character may be made of several, so they go on with the word in hand.
        """
        piece = self._pieces[token_id]
        return piece != self.alone(token_id) and not _BYTE.fullmatch(piece)


def _surface(piece: str, *, begun: bool) -> str:
    if piece == UNKNOWN_PIECE:
        return UNKNOWN_SURFACE
    if _CONTROL.fullmatch(piece):
        return ""
    return (piece if begun else piece.removeprefix(SPACE_SYMBOL)).replace(SPACE_SYMBOL, " ")


@lru_cache(maxsize=8)
def detokenizer(pieces: tuple[str, ...]) -> Detokenizer:
    """Return the detokeniser of a vocabulary, made once."""
    return Detokenizer(pieces)
