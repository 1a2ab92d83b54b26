"""What may be given as phrases: texts, weights and options, checked; the cases in which a phrase may be written."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from tdt.checks import items, number
from tdt.errors import OptionError

GivenPhrases: TypeAlias = Iterable[str | tuple[str, float]]

MAX_SCORE = 1e6
MAX_CHARACTERS = 4096  # of a phrase; a text that long is no phrase, and its tree is a chain of a thousand states
_LETTER = re.compile(r"(^|[\s-])(\w)")


@dataclass(frozen=True, slots=True)
class PhraseOptions:
    """How phrases are weighed; see :class:`Phrases`.

    Raises
    ------
    OptionError
        Where a value cannot be used, or `case_insensitive` and `as_nemo` are both set.
    """

    score: float = 1.0
    depth_scaling: float = 2.0
    weight: float = 1.0
    unk_score: float = 0.0
    score_per_phrase: float = 0.0
    uniform_weights: bool = False
    case_insensitive: bool = False
    as_nemo: bool = False

    def __post_init__(self) -> None:
        for name in ("score", "depth_scaling", "weight", "unk_score", "score_per_phrase"):
            least = 0.0 if name in {"depth_scaling", "score_per_phrase"} else -MAX_SCORE
            object.__setattr__(self, name, number(name, getattr(self, name), least, MAX_SCORE))
        for name in ("uniform_weights", "case_insensitive", "as_nemo"):
            if not isinstance(getattr(self, name), bool):
                raise OptionError(name, getattr(self, name), "True or False")
        if self.case_insensitive and self.as_nemo:
            raise OptionError(
                "case_insensitive", True, "False with as_nemo=True, which takes phrases as they are given"
            )


def joined(text: str) -> str:
    """Return a text in NFKC, its white space single spaces, none at the ends."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def cases(text: str) -> tuple[str, ...]:
    """Return a text in lower case, with a capital at its start, at the start of each word, and in upper case."""
    low = text.lower()
    first, each = _LETTER.sub(_capital, low, count=1), _LETTER.sub(_capital, low)
    return tuple(joined(variant) for variant in dict.fromkeys((low, first, each, text.upper())))


def _capital(found: re.Match[str]) -> str:
    return found[1] + found[2].upper()


def checked(phrases: Any) -> tuple[tuple[str, float], ...]:
    """Return each phrase with its weight.

    Raises
    ------
    OptionError
        Where it is no list of texts or pairs, or a weight is no number.
    """
    expected = "a list of texts, or of pairs of a text and a weight"
    return tuple(map(_pair, items("phrases", phrases, expected)))


def _pair(entry: Any) -> tuple[str, float]:
    text, weight = entry if isinstance(entry, tuple) and len(entry) == 2 else (entry, 1.0)
    if not isinstance(text, str):
        raise OptionError("phrases", entry, "each phrase to be a text, or a pair (tuple) of a text and a weight")
    if len(text) > MAX_CHARACTERS:
        raise OptionError("phrases", text, f"phrases of at most {MAX_CHARACTERS} characters; this has {len(text)}")
    return text, number(f"phrases: the weight of {text!r}", weight, -MAX_SCORE, MAX_SCORE)
