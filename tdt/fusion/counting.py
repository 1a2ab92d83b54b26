"""How often each n-gram of a corpus occurs, in whole arrays: one sort an order.

Symbols are numbers: -1 is `<s>`, then the ids of the V pieces, V is `</s>`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tdt.kernels.fusion.symbols import BEGIN


class Counted(NamedTuple):
    """The different n-grams of one order, sorted by their symbols.

    Attributes
    ----------
    symbols : ndarray [shape=(n, order)], int32
    raw : ndarray [shape=(n,)], int64
        How often each occurs.
    adjusted : ndarray [shape=(n,)], int64
        What Kneser and Ney count: of the highest order, and of what begins with `<s>`, the same; else how many
        different symbols it comes after.
    contexts, suffixes : ndarray [shape=(n,)], int64
        Rows of the n-gram without its last and without its first symbol, in the order below; zeros in the first.
    """

    symbols: Any
    raw: Any
    adjusted: Any
    contexts: Any
    suffixes: Any


def count_ngrams(stream: Any, order: int, pieces: int) -> list[Counted]:
    """Return the n-grams of a corpus, counted by order; orders longer than any sentence are left out.

    Parameters
    ----------
    stream : ndarray [shape=(n,)], int32
        Sentences one behind the other, each from `<s>` to `</s>`.
    order : int
        The highest.
    pieces : int
        Size of the vocabulary.
    """
    width = pieces + 1
    found, rows, raw = np.unique(stream, return_inverse=True, return_counts=True)
    nothing = np.zeros(len(found), np.int64)
    levels = [Counted(found[:, None].astype(np.int32), raw, raw, nothing, nothing)]
    positions = np.arange(len(stream))
    for length in range(2, order + 1):
        positions = positions[positions + length <= len(stream)]
        positions = positions[stream[positions + length - 1] != BEGIN]
        if not len(positions):
            break
        keys = rows[positions].astype(np.int64) * width + stream[positions + length - 1]
        found, first, inverse, raw = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        contexts, labels = np.divmod(found, width)
        below = levels[-1]
        symbols = np.column_stack([below.symbols[contexts], labels.astype(np.int32)])
        suffixes = rows[positions[first] + 1].astype(np.int64)
        different = np.bincount(suffixes, minlength=len(below.raw))
        levels[-1] = below._replace(adjusted=np.where(below.symbols[:, 0] == BEGIN, below.raw, different))
        levels.append(Counted(symbols, raw, raw, contexts, suffixes))
        rows = np.zeros(len(stream), np.int64)
        rows[positions] = inverse
    return levels
