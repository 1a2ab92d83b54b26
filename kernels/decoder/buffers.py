"""Arrays that the compiled decoding loop works on: buffers of a loop, state of the utterances, emitted tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .tables import COLUMN_BLOCK_GROUPS, GROUP_ROWS, aligned, ceil_to, column_blocks

if TYPE_CHECKING:
    from .tables import Weights

CHUNK_ROWS, FLOAT_CHUNK_ROWS = (
    128,
    32,
)  # rows that are multiplied before their results are scaled, and what threads share out
FRAME_BLOCK = 64  # encoder frames projected at a time: their block stays in the second-level cache
# Up to so many vectors the output layer is read by columns, without those of zero activations (measured: half of them;
# for more vectors the columns needed come near to all, and blocks of rows do fewer loads).
COLUMN_VECTORS = 2


class Workspace(NamedTuple):
    """Buffers of one running loop, for at most M rows (utterances × window).

    Attributes
    ----------
    hidden : ndarray [shape=(M, J16)], float32
    logits : ndarray [shape=(M, V16)], float32
    durations : ndarray [shape=(M, N16)], float32
    norms, best, sums, masks, zeros : ndarray
        [M, 4], [M], [16] float32; [masks] uint16, a bit a row; [4] float32, always zero.
    gates, gathered : ndarray [shape=(M, G)] and [shape=(M, H16)], float32
    rows, emitted : ndarray [shape=(M,)], int64
    chunk_best : ndarray [shape=(M, chunks)], float32
    columns, column_levels, column_counts : ndarray
        Of the activations that are not zero: [COLUMN_VECTORS, J16 + 4] int64 places and uint8 levels, [COLUMN_VECTORS]
        int64.
    firsts, results : ndarray [shape=(M,)], int64
        By active utterance: its first row, and what became of it.
    pending_rows, pending_places : ndarray [shape=(M,)], int64
        Emissions that wait for their scores: row of the logits, place among the results.
    levels, stats : ndarray [shape=(M, K64)], uint8, and [shape=(M, 4)], float32
        Quantised vectors; M counts a block of encoder frames here, too.
    dots : ndarray [shape=(entries,)], int32
        Integer products: of CHUNK_ROWS rows with all vectors, or of a block of the output layer by columns.
    """

    hidden: Any
    logits: Any
    durations: Any
    norms: Any
    best: Any
    sums: Any
    masks: Any
    zeros: Any
    gates: Any
    gathered: Any
    rows: Any
    emitted: Any
    chunk_best: Any
    columns: Any
    column_levels: Any
    column_counts: Any
    firsts: Any
    results: Any
    pending_rows: Any
    pending_places: Any
    levels: Any
    stats: Any
    dots: Any


class Aside(NamedTuple):
    """What a helper has for itself, and may write to when the run that it helped has long ended.

    Attributes
    ----------
    sums, masks, dots, chunk_best : ndarray
        As in :class:`Workspace`.
    results : ndarray [shape=(M × CHUNK_ROWS,)], float32
        Of one chunk of a product.
    job : ndarray [shape=(claims.OWN_PLACES,)], int64
        The numbers of the job as they were when it came.
    """

    sums: Any
    masks: Any
    dots: Any
    chunk_best: Any
    results: Any
    job: Any


class DecodingState(NamedTuple):
    """Where each of B utterances stands; arrays are updated in place.

    Attributes
    ----------
    hidden, cell, next_hidden, next_cell : ndarray [shape=(B, L, H16)], float32
        LSTM state before and after `labels` was fed.
    projected : ndarray [shape=(B, J16)], float32
    labels, times, stops, starts, counts : ndarray [shape=(B,)], int64
        Last label; next frame; number of frames; first row of the utterance's frames; tokens emitted in this call.
    last_times, repeats : ndarray [shape=(B,)], int64
        Frame of the last token, and how many tokens stand there.
    predicted : ndarray [shape=(B,)], int64
        Whether the state after `labels` and its projection are there already.
    sources : ndarray [shape=(B,)], int64
        Where the state before the label stands: in a greedy search, with the utterance itself.
    """

    hidden: Any
    cell: Any
    next_hidden: Any
    next_cell: Any
    projected: Any
    labels: Any
    times: Any
    stops: Any
    starts: Any
    counts: Any
    last_times: Any
    repeats: Any
    predicted: Any
    sources: Any


class Emitted(NamedTuple):
    """Tokens by utterance: [B, capacity] int32 ids, frames, durations; float32 logprobs, entropies."""

    tokens: Any
    frames: Any
    durations: Any
    logprobs: Any
    entropies: Any


class Rule(NamedTuple):
    """The model's numbers that the loop needs: durations [N] int64, blank, max_symbols, frames evaluated at once."""

    durations: Any
    blank: int
    max_symbols: int
    window: int


def workspace(weights: Weights, rows: int) -> Workspace:
    """Return buffers for `rows` rows and blocks of encoder frames."""
    joint, tokens = weights.predictor_bias.size, weights.rows.shape[1]
    gates = weights.bias.shape[1]
    vectors = max(rows, FRAME_BLOCK)
    return Workspace(
        hidden=aligned((rows, joint), np.float32),
        logits=aligned((rows, tokens), np.float32),
        durations=aligned((rows, weights.duration_bias.size), np.float32),
        norms=aligned((rows, 4), np.float32),
        best=aligned((rows,), np.float32),
        sums=aligned((16,), np.float32),
        masks=aligned((ceil_to(tokens // 16, 32),), np.uint16),
        zeros=aligned((4,), np.float32),
        gates=aligned((rows, gates), np.float32),
        gathered=aligned((rows, gates // 4), np.float32),
        rows=aligned((rows,), np.int64),
        emitted=aligned((rows,), np.int64),
        chunk_best=aligned((rows, _best_places(tokens)), np.float32),
        columns=aligned((COLUMN_VECTORS, joint + 4), np.int64),
        column_levels=aligned((COLUMN_VECTORS, joint + 4), np.uint8),
        column_counts=aligned((COLUMN_VECTORS,), np.int64),
        firsts=aligned((rows,), np.int64),
        results=aligned((rows,), np.int64),
        pending_rows=aligned((rows,), np.int64),
        pending_places=aligned((rows,), np.int64),
        levels=aligned((vectors, ceil_to(max(joint, gates // 4, weights.encoder_width), 64)), np.uint8),
        stats=aligned((vectors, 4), np.float32),
        dots=aligned((_chunk_results(vectors),), np.int32),
    )


def aside(weights: Weights, rows: int, own_places: int) -> Aside:
    """Return what a helper of runs of up to `rows` rows has for itself."""
    tokens, results = weights.rows.shape[1], _chunk_results(max(rows, FRAME_BLOCK))
    return Aside(
        sums=aligned((16,), np.float32),
        masks=aligned((ceil_to(tokens // 16, 32),), np.uint16),
        dots=aligned((results,), np.int32),
        chunk_best=aligned((rows, _best_places(tokens)), np.float32),
        results=aligned((results,), np.float32),
        job=aligned((own_places,), np.int64),
    )


def _best_places(tokens: int) -> int:
    """Return the most chunks that the output layer is cut into where it is estimated."""
    return max(-(-tokens // CHUNK_ROWS), column_blocks(-(-tokens // GROUP_ROWS)))


def _chunk_results(vectors: int) -> int:
    """Return the most results of a chunk of a product."""
    return max(vectors * CHUNK_ROWS, COLUMN_VECTORS * COLUMN_BLOCK_GROUPS * GROUP_ROWS)


def most_chunks(weights: Weights, rows: int) -> int:
    """Return the most chunks of a job: of the largest product and the scores that wait beside it, or one a row."""
    tallest = int(max(weights.rows.shape[1], weights.bias.shape[1], weights.predictor_bias.size))
    return rows + -(-tallest // FLOAT_CHUNK_ROWS) + _best_places(weights.rows.shape[1])


def decoding_state(weights: Weights, layers: int, batch: int) -> DecodingState:
    """Return the state of `batch` utterances: zeros."""
    shape = (4, batch, layers, weights.bias.shape[1] // 4)
    projected = aligned((batch, weights.predictor_bias.size), np.float32)
    numbers = [*np.zeros((8, batch), np.int64), np.arange(batch, dtype=np.int64)]
    return DecodingState._make([*aligned(shape, np.float32), projected, *numbers])


def emitted_tokens(batch: int, capacity: int) -> Emitted:
    """Return room for `capacity` tokens of each utterance; memory is taken as tokens are written."""
    integers = [np.empty((batch, capacity), np.int32) for _ in range(3)]
    floats = [np.empty((batch, capacity), np.float32) for _ in range(2)]
    return Emitted(*integers, *floats)
