"""How many hypotheses a beam search keeps, and by which rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tdt.checks import one_of, whole_number
from tdt.errors import OptionError

Pruning = Literal["late", "early"]
BlankScore = Literal["lm_weighted_full", "no_score"]
MOST_HYPOTHESES = 64
_MOST_SYMBOLS = 1000


@dataclass(frozen=True, slots=True)
class Beam:
    """A beam search: NeMo's `malsd_batch`, whose names these are.

    Parameters
    ----------
    size : int
        Hypotheses kept, 1 to 64. With 1, and nothing added to the logits, the tokens are those of greedy decoding.
    score_norm : bool
        Whether the final list is in order of score / (tokens + 1), instead of the score alone.
    pruning : {"late", "early"}
        Whether phrases and language models enter before the best tokens of a step are chosen, or only reorder them.
    blank_score : {"lm_weighted_full", "no_score"}
        How a blank is weighed against tokens that phrases and language models score: by its own log-probability as
        often as they are, or not at all.
    max_symbols : int
        Tokens at one frame after which only a blank may follow.

    Raises
    ------
    OptionError
        A value out of its range.
    """

    size: int = 4
    score_norm: bool = True
    pruning: Pruning = "late"
    blank_score: BlankScore = "lm_weighted_full"
    max_symbols: int = 10

    def __post_init__(self) -> None:
        whole_number("beam: size", self.size, 1, MOST_HYPOTHESES, "hypotheses")
        if not isinstance(self.score_norm, bool):
            raise OptionError("beam: score_norm", self.score_norm, "True or False")
        one_of("beam: pruning", self.pruning, ("late", "early"))
        one_of("beam: blank_score", self.blank_score, ("lm_weighted_full", "no_score"))
        whole_number("beam: max_symbols", self.max_symbols, 1, _MOST_SYMBOLS, "tokens")
