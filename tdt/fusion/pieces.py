"""Text to the pieces of a model: SentencePiece's byte-pair encoding, made of the vocabulary file alone.

The file holds all that is needed, since the id of a piece is the rank of its merge: as long as two neighbours together
are a piece, join the pair whose piece has the lowest id, the leftmost one first.

Source: SentencePiece `bpe_model.cc: Model::SampleEncode`; normalisation `nmt_nfkc`, of which this is NFKC and spaces.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdt.dependencies import needed
from tdt.errors import ModelFileCorruptError, ModelFileNotFoundError, ModelMismatchError, OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

SPACE_SYMBOL = "▁"
UNKNOWN_PIECE = "<unk>"
BLANK_PIECE = "<blk>"
WORDS_KEPT = 1 << 17  # some 30 MB of words and their pieces at most

_SPECIAL = re.compile(r"<.+>")
_SPACE = re.compile(r"\s")
_NONE = 1 << 30  # rank of a pair that is no piece
_UNKNOWN = -1
_log = logging.getLogger("tdt")


def is_special(piece: str) -> bool:
    """Say whether a piece is written in angle brackets: `<unk>`, `<pad>`, `<|en|>`, the bytes `<0xNN>`."""
    return _SPECIAL.fullmatch(piece) is not None


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Pieces of a model, and how text becomes some of them. Shared by any number of threads.

    Parameters
    ----------
    pieces : sequence of str
        The index is the token id; a blank `<blk>` at the end is left out.
    tokenizer : path, optional
        A SentencePiece model of the same pieces, used where the package sentencepiece is installed (extra `phrases`);
        it knows rules of normalisation that the vocabulary does not. Otherwise the merges are those of the pieces.

    Raises
    ------
    OptionError
        Where the pieces are no texts.
    ModelFileNotFoundError, ModelFileCorruptError, ModelMismatchError
        Where the tokenizer is missing, none, or another model's.
    """

    pieces: tuple[str, ...]
    tokenizer: Path | None = None
    _ranks: dict[str, int] = field(init=False, repr=False, compare=False)
    _bytes: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _by_word: bool = field(init=False, repr=False, compare=False)
    _words: dict[str, tuple[int, ...]] = field(init=False, repr=False, compare=False)
    _processor: Any = field(init=False, repr=False, compare=False)
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        pieces = _texts(self.pieces)
        path = None if self.tokenizer is None else Path(self.tokenizer)
        ranks: dict[str, int] = {}
        for number, piece in enumerate(pieces):
            if piece and not is_special(piece):
                ranks.setdefault(piece, number)
        values: dict[str, Any] = {
            "pieces": pieces,
            "tokenizer": path,
            "_ranks": ranks,
            "_bytes": _byte_ids(pieces),
            # Where a space stands at the start of pieces only, no merge goes over it: words are encoded apart.
            "_by_word": not any(SPACE_SYMBOL in piece[1:] for piece in ranks),
            "_words": {},
            "_processor": None if path is None else _processor(path, pieces),
            "_hash": hash((pieces, path)),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __hash__(self) -> int:
        return self._hash  # thousands of texts are not hashed at each look-up

    def __reduce__(self) -> tuple[object, ...]:
        return Vocabulary, (self.pieces, self.tokenizer)

    def __len__(self) -> int:
        return len(self.pieces)

    @property
    def unknown_id(self) -> int | None:
        """Token of characters that no piece holds, where the vocabulary has one."""
        return self.pieces.index(UNKNOWN_PIECE) if UNKNOWN_PIECE in self.pieces else None

    def encode(self, text: str, *, unknown: bool = False) -> tuple[int, ...]:
        """Return the token ids of a text, a word start in front; none for the empty one.

        Parameters
        ----------
        text : str
        unknown : bool
            Whether characters that no piece holds become `<unk>`, each run of them one; else they are refused.

        Raises
        ------
        OptionError
            Names the characters that are outside the vocabulary, where they are refused or there is no `<unk>`.
        """
        if self._processor is not None:
            none = self._processor.unk_id()
            ids = tuple(_UNKNOWN if token == none else token for token in self._processor.encode(text))
        else:
            ids = self._merged(SPACE_SYMBOL + _SPACE.sub(SPACE_SYMBOL, unicodedata.normalize("NFKC", text)))
        if _UNKNOWN not in ids:
            return ids
        stand_in = self.unknown_id
        if stand_in is None or not unknown:
            missing = ", ".join(map(repr, self.outside(text))) or "some of its characters"
            raise OptionError("phrases", text, f"characters of the model's vocabulary, which has no {missing}")
        return tuple(
            stand_in if token == _UNKNOWN else token
            for before, token in pairwise((0, *ids))
            if token != _UNKNOWN or before != _UNKNOWN
        )

    def outside(self, text: str) -> tuple[str, ...]:
        """Return the characters of a text that no piece of one character or of bytes stands for, each once."""
        known = self._ranks.keys() | {" "}
        found = dict.fromkeys(_SPACE.sub(" ", unicodedata.normalize("NFKC", text)))
        return () if self._bytes else tuple(character for character in found if character not in known)

    def _merged(self, text: str) -> tuple[int, ...]:
        """Return the ids of a text whose spaces are written as symbols, -1 for what is unknown."""
        if text == SPACE_SYMBOL:
            return ()
        if not self._by_word:
            return tuple(self._merge(text))
        words, ids = self._words, list[int]()
        for word in text[1:].split(SPACE_SYMBOL):
            found = words.get(word)
            if found is None:
                if len(words) >= WORDS_KEPT:
                    words.clear()
                found = words[word] = tuple(self._merge(SPACE_SYMBOL + word))
            ids += found
        return tuple(ids)

    def _merge(self, text: str) -> list[int]:
        rank_of, pieces = self._ranks.get, self.pieces
        symbols = list(text)
        ranks = [rank_of(left + right, _NONE) for left, right in pairwise(symbols)]
        ranks.append(_NONE)  # of the last symbol, which has no neighbour
        while (best := min(ranks)) != _NONE:
            at = ranks.index(best)
            joined = symbols[at] = pieces[best]
            del symbols[at + 1], ranks[at]
            if at:
                ranks[at - 1] = rank_of(symbols[at - 1] + joined, _NONE)
            if at + 1 < len(symbols):
                ranks[at] = rank_of(joined + symbols[at + 1], _NONE)
        ids: list[int] = []
        for symbol in symbols:
            token = rank_of(symbol, _UNKNOWN)
            if token == _UNKNOWN and self._bytes:
                ids += [self._bytes[byte] for byte in symbol.encode("utf-8", "replace")]
            else:
                ids.append(token)
        return ids


def vocabulary_of(value: object) -> Vocabulary:
    """Return the vocabulary of a recogniser, of a model's numbers or of pieces; of the same pieces the same one.

    Parameters
    ----------
    value : Vocabulary, or an object with `spec.pieces` or `pieces`, or a sequence of str

    Raises
    ------
    OptionError
        Where it is none of them.
    """
    if isinstance(value, Vocabulary):
        return value
    spec = getattr(value, "spec", value)
    return _vocabulary(_texts(getattr(spec, "pieces", value)), getattr(spec, "tokenizer", None))


@lru_cache(maxsize=8)
def _vocabulary(pieces: tuple[str, ...], tokenizer: Path | None) -> Vocabulary:
    return Vocabulary(pieces, tokenizer)


def _texts(pieces: Sequence[str] | Any) -> tuple[str, ...]:
    """Return pieces as a tuple without the blank."""
    listed = tuple(pieces) if isinstance(pieces, (list, tuple)) else ()
    if listed and listed[-1] == BLANK_PIECE:
        listed = listed[:-1]
    if not listed or not all(isinstance(piece, str) for piece in listed):
        raise OptionError("vocabulary", pieces, "a vocabulary: a recogniser, its spec, or the pieces as texts")
    return listed


def _byte_ids(pieces: tuple[str, ...]) -> tuple[int, ...]:
    """Return the ids of the pieces that stand for single bytes, if the vocabulary has all 256."""
    ids = {piece: number for number, piece in enumerate(pieces) if piece.startswith("<0x")}
    names = [f"<0x{byte:02X}>" for byte in range(256)]
    return tuple(ids[name] for name in names) if ids.keys() >= set(names) else ()


def _processor(path: Path, pieces: tuple[str, ...]) -> Any:
    """Return SentencePiece's own encoder, None where it is not installed."""
    import importlib.util

    if not path.is_file():
        raise ModelFileNotFoundError(path.parent, path.name, [])
    if importlib.util.find_spec("sentencepiece") is None:
        _log.info("%s is not used: sentencepiece is not installed; the vocabulary's merges split phrases", path)
        return None
    with needed("sentencepiece"):
        import sentencepiece
    try:
        processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (RuntimeError, OSError) as error:
        raise ModelFileCorruptError(path, f"it is no SentencePiece model ({error})") from error
    held = tuple(processor.id_to_piece(list(range(processor.get_piece_size()))))
    if held != pieces:
        raise ModelMismatchError(
            f"{path} has {len(held)} pieces, the model {len(pieces)}, and they are not the same. Expected the "
            "tokenizer that the model was trained with; without one, the vocabulary's own merges split phrases."
        )
    return processor
