"""n-grams become states and arcs: the automaton of a model that backs off, but for the size of the vocabulary.

State 0 knows nothing of what came before, state 1 is the start of an utterance, then come the unigrams by id, then the
n-grams of orders 2 to N - 1, sorted by their ids. An n-gram is an arc from the state of all but its last symbol to its
own state; one of the highest order to the state of its last N - 1 symbols. Where that state is not in the file (pruning
may leave it out), to that of the longest suffix that is: by the format a missing context has back-off 0, so that
both score the same.

Source: NeMo `ngram_lm_batched.py: SuffixTreeStorage`, whose numbers of states these are.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tdt.errors import LanguageModelError
from tdt.kernels.fusion.symbols import BEGIN, END, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tdt.fusion.arpa import Ngrams

FIRST_UNIGRAM = 2  # after the state that knows nothing, and that of <s>
AGAIN = "Copy the file again, or make it again with the tool that wrote it"
_log = logging.getLogger("tdt")


class Graph(NamedTuple):
    """States and arcs as in :class:`~tdt.kernels.fusion.automaton.Automaton`, the root's as a list of unigrams.

    Attributes
    ----------
    arc_starts, labels, targets, weights, backoffs, backoff_weights : ndarray
        As there.
    unigrams : ndarray [shape=(U,)], int32
        Pieces that have a probability of their own, rising; the state of the i-th is i + 2.
    unigram_weights : ndarray [shape=(U,)], float32
    unknown : ndarray [shape=(1,)], float32
        Natural logarithm of the probability of `<unk>`; NaN where the model has none.
    """

    arc_starts: Any
    labels: Any
    targets: Any
    weights: Any
    backoffs: Any
    backoff_weights: Any
    unigrams: Any
    unigram_weights: Any
    unknown: Any


def build(path: Path, orders: Sequence[Ngrams]) -> Graph:
    """Return the states and arcs of a model.

    Parameters
    ----------
    path : Path
        Named in errors.
    orders : sequence of Ngrams
        By order, from 1 on.

    Raises
    ------
    LanguageModelError
        An n-gram stands twice, or what it begins with is missing; a marker stands where it has no meaning; the model
        has no `<s>`.
    """
    builder = _Builder(path, orders[0])
    for number, ngrams in enumerate(orders[1:], start=2):
        builder.add(ngrams, highest=number == len(orders))
    graph = builder.done()
    # Of the highest order a back-off means nothing, whatever stands there.
    return graph if len(orders) > 1 else graph._replace(backoff_weights=np.zeros_like(graph.backoff_weights))


class _Builder:
    """States and arcs, order by order.

    The key of an arc is state × width + label. Keys rise from order to order, since states do.
    """

    def __init__(self, path: Path, ngrams: Ngrams) -> None:
        self._path = path
        symbols = ngrams.symbols[:, 0]
        order = np.argsort(symbols, kind="stable")
        rising = symbols[order]
        twice = np.flatnonzero(rising[1:] == rising[:-1])
        if len(twice):
            raise self._fail(ngrams, int(order[twice[0] + 1]), "stands twice")
        rows = {int(symbol): int(row) for symbol, row in zip(rising[:3], order[:3], strict=False) if symbol < 0}
        if BEGIN not in rows:
            what = "it has no <s>, which every utterance begins with"
            raise LanguageModelError(path, what, "Make it again with the starts of sentences, as lmplz does")
        kept = order[rising >= 0]
        if not len(kept):
            raise LanguageModelError(path, "it has no unigram of a piece", AGAIN)
        self._unigrams, self._unigram_weights = symbols[kept], ngrams.weights[kept]
        unknown = ngrams.weights[rows[UNKNOWN]] if UNKNOWN in rows else np.nan
        self._unknown = np.array([unknown], np.float32)
        self._width = int(self._unigrams[-1]) + 1
        self._state_of = np.full(self._width, -1, np.int32)  # a piece's unigram
        self._state_of[self._unigrams] = np.arange(FIRST_UNIGRAM, FIRST_UNIGRAM + len(kept))
        self._backoffs = np.zeros(FIRST_UNIGRAM + len(kept), np.int32)
        self._backoff_weights = np.concatenate(
            [np.array([0, ngrams.backoffs[rows[BEGIN]]], np.float32), ngrams.backoffs[kept]]
        )
        self._keys = np.empty(0, np.int64)
        self._targets, self._weights = np.empty(0, np.int32), np.empty(0, np.float32)

    def add(self, ngrams: Ngrams, *, highest: bool) -> None:
        """Add the n-grams of the next order."""
        rows = self._usable(ngrams)
        symbols = ngrams.symbols[rows]
        contexts = np.where(symbols[:, 0] == BEGIN, 1, self._state_of[symbols[:, 0]])
        for place in range(1, symbols.shape[1] - 1):
            contexts = self._next(contexts, symbols[:, place])
            if len(contexts) and contexts.min() < 0:
                row = int(rows[np.argmin(contexts)])
                raise self._fail(ngrams, row, "begins with an n-gram that the file does not hold")
        labels = symbols[:, -1]
        ended = labels == END  # never scored: speech does not tell the end of a sentence
        rows, contexts, labels = rows[~ended], contexts[~ended], labels[~ended]
        keys = contexts.astype(np.int64) * self._width + labels
        order = np.argsort(keys, kind="stable")
        rows, keys, contexts, labels = rows[order], keys[order], contexts[order], labels[order]
        twice = np.flatnonzero(keys[1:] == keys[:-1])
        if len(twice):
            raise self._fail(ngrams, int(rows[twice[0] + 1]), "stands twice")
        suffixes = self._suffixes(contexts, labels)
        if highest:
            targets = suffixes
        else:
            targets = np.arange(len(self._backoffs), len(self._backoffs) + len(keys), dtype=np.int32)
            self._backoffs = np.concatenate([self._backoffs, suffixes])
            self._backoff_weights = np.concatenate([self._backoff_weights, ngrams.backoffs[rows]])
        self._keys = np.concatenate([self._keys, keys])
        self._targets = np.concatenate([self._targets, targets])
        self._weights = np.concatenate([self._weights, ngrams.weights[rows]])

    def _usable(self, ngrams: Ngrams) -> Any:
        """Return the rows without `<unk>`; markers elsewhere than at the ends, and strange pieces, are refused."""
        symbols = ngrams.symbols
        wrong = (symbols[:, 1:] == BEGIN).any(axis=1) | (symbols[:, :-1] == END).any(axis=1)
        if wrong.any():
            raise self._fail(ngrams, int(np.argmax(wrong)), "has <s> or </s> within; they stand first and last only")
        strange = (symbols >= self._width) | (
            (symbols >= 0) & (self._state_of[np.clip(symbols, 0, self._width - 1)] < 0)
        )
        if strange.any():
            raise self._fail(ngrams, int(np.argmax(strange.any(axis=1))), "has a piece that is no unigram of the file")
        unknown = (symbols == UNKNOWN).any(axis=1)
        if unknown.any():
            what = "%s: %d %d-grams with <unk> are left out; pieces that the model does not know start it anew"
            _log.warning(what, self._path, unknown.sum(), symbols.shape[1])
        return np.flatnonzero(~unknown)

    def _next(self, states: Any, labels: Any) -> Any:
        """Return the targets of arcs, -1 where a state has none with this label."""
        if not len(self._keys):
            return np.full(len(states), -1, np.int32)
        keys = states.astype(np.int64) * self._width + labels
        found = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[found] == keys, self._targets[found], np.int32(-1))

    def _suffixes(self, contexts: Any, labels: Any) -> Any:
        """Return the states of the longest known suffixes of n-grams, the n-grams themselves left out."""
        states, open_rows = np.zeros(len(labels), np.int32), np.arange(len(labels))
        contexts = self._backoffs[contexts]
        while len(open_rows):
            at_root = contexts == 0
            states[open_rows[at_root]] = self._state_of[labels[open_rows[at_root]]]
            open_rows, contexts = open_rows[~at_root], contexts[~at_root]
            found = self._next(contexts, labels[open_rows])
            states[open_rows[found >= 0]] = found[found >= 0]
            open_rows, contexts = open_rows[found < 0], self._backoffs[contexts[found < 0]]
        return states

    def done(self) -> Graph:
        """Return what was built."""
        sources, labels = np.divmod(self._keys, self._width)
        arc_starts = np.zeros(len(self._backoffs) + 1, np.int64)
        np.cumsum(np.bincount(sources, minlength=len(self._backoffs)), out=arc_starts[1:])
        return Graph(
            arc_starts, labels.astype(np.int32), self._targets, self._weights, self._backoffs, self._backoff_weights,
            self._unigrams, self._unigram_weights, self._unknown,
        )  # fmt: skip

    def _fail(self, ngrams: Ngrams, row: int, problem: str) -> LanguageModelError:
        return LanguageModelError(self._path, f"the n-gram {ngrams.text(row)!r} {problem}", AGAIN, ngrams.line(row))
