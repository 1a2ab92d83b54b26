"""Probabilities of n-grams from their counts: interpolated modified Kneser-Ney.

Source: Chen and Goodman, An empirical study of smoothing techniques for language modeling (1998), section 3; what is
pruned gives its count to the back-off, as in Heafield et al., Scalable modified Kneser-Ney language model estimation
(2013). Unigrams are interpolated with all V pieces and `</s>`, each the same, so that what the corpus does not hold has
a probability and all sum to 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tdt.fusion.counting import count_ngrams
from tdt.kernels.fusion.symbols import BEGIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.fusion.counting import Counted

FALLBACK = (0.5, 1.0, 1.5)  # lmplz's, for counts of counts that the formula cannot use
NEVER = -99.0  # how ARPA files write the logarithm of 0


class Estimated(NamedTuple):
    """The n-grams of one order that a model keeps.

    Attributes
    ----------
    symbols : ndarray [shape=(n, order)], int32
        As for counting.
    weights : ndarray [shape=(n,)], float64
        Logarithm of the probability, base 10.
    backoffs : ndarray [shape=(n,)], float64
        The same of what is left for other symbols; 0 where nothing follows. Not used of the highest order.
    """

    symbols: Any
    weights: Any
    backoffs: Any


class Model(NamedTuple):
    """A model as it is written: n-grams by order, `<unk>` apart, and what a user should know."""

    levels: tuple[Estimated, ...]
    unknown: float
    notes: tuple[str, ...]


def estimate(stream: Any, order: int, pieces: int, prune: Sequence[int] = (0,)) -> Model:
    """Return a model of a corpus.

    Parameters
    ----------
    stream : ndarray [shape=(n,)], int32
        Sentences one behind the other, each from `<s>` (-1) to `</s>` (`pieces`); one at least.
    order : int
    pieces : int
        Size of the vocabulary.
    prune : sequence of int
        n-grams that occur so often or less are left out, by order; the last counts for all further orders. They must
        not fall, and the first is 0: a model keeps what its longer n-grams are made of.
    """
    counted = count_ngrams(stream, order, pieces)
    levels: list[Estimated] = []
    notes: list[str] = []
    if len(counted) < order:
        notes.append(f"no line is long enough for order {order}: the model has order {len(counted)}")
    below, kept_below, unknown = np.empty(0), np.empty(0, np.bool_), NEVER
    for number, level in enumerate(counted, start=1):
        discounts, computed = discounts_of(level.adjusted[level.symbols[:, -1] != BEGIN])
        if not computed:
            notes.append(f"order {number} has too few different counts to discount by: {FALLBACK} are taken")
        steps = discounts[np.minimum(level.adjusted, 3)]
        if number == 1:
            kept = np.ones(len(steps), np.bool_)
            below, unknown = _unigrams(level, steps, pieces)
        else:
            kept = level.raw > prune[min(number, len(prune)) - 1]
            left, totals = _left_over(level, steps, kept, len(below))
            levels[-1] = levels[-1]._replace(backoffs=np.log10(left[kept_below]))
            below = (level.adjusted - steps) / totals[level.contexts] + left[level.contexts] * below[level.suffixes]
        levels.append(_level(level, below, kept))
        kept_below = kept
    while not len(levels[-1].weights):
        levels.pop()
    return Model(tuple(levels), unknown, tuple(notes))


def discounts_of(adjusted: Any) -> tuple[Any, bool]:
    """Return what is taken off counts of 0, 1, 2, and 3 or more; and whether it is from the counts of counts."""
    n1, n2, n3, n4 = (int((adjusted == count).sum()) for count in (1, 2, 3, 4))
    if min(n1, n2, n3, n4) > 0:
        share = n1 / (n1 + 2 * n2)
        found = (1 - 2 * share * n2 / n1, 2 - 3 * share * n3 / n2, 3 - 4 * share * n4 / n3)
        if all(0 < discount <= count for count, discount in enumerate(found, start=1)):
            return np.array([0.0, *found]), True
    return np.array([0.0, *FALLBACK]), False


def _unigrams(level: Counted, steps: Any, pieces: int) -> tuple[Any, float]:
    """Return the probabilities of symbols, 0 for `<s>`, and the logarithm of all together that do not occur."""
    real = level.symbols[:, 0] != BEGIN
    total = level.adjusted[real].sum()
    each = steps[real].sum() / total / (pieces + 1)
    found = np.where(real, (level.adjusted - steps) / total + each, 0.0)
    missing = pieces + 1 - int(real.sum())
    return found, float(np.log10(each * missing)) if missing else NEVER


def _left_over(level: Counted, steps: Any, kept: Any, contexts: int) -> tuple[Any, Any]:
    """Return the share of each context that is left for what does not follow it in the model, and its count.

    The share is 1 where nothing follows.
    """
    taken = np.bincount(level.contexts, np.where(kept, steps, level.adjusted), minlength=contexts)
    totals = np.bincount(level.contexts, level.adjusted, minlength=contexts)
    return np.divide(taken, totals, out=np.ones(contexts), where=totals > 0), totals


def _level(level: Counted, probabilities: Any, kept: Any) -> Estimated:
    with np.errstate(divide="ignore"):
        weights = np.maximum(np.log10(probabilities[kept]), NEVER)
    return Estimated(level.symbols[kept], weights, np.zeros(len(weights)))
