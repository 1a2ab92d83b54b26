"""Arrays that the compiled decoding loop works on: buffers of a loop, state of the utterances, emitted tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .tables import aligned, ceil_to

if TYPE_CHECKING:
    from .tables import Weights

CHUNK_ROWS = 128  # rows that are multiplied before their results are scaled, and what threads share out
FRAME_BLOCK = 64  # encoder frames projected at a time: their block stays in the second-level cache


class Scratch(NamedTuple):
    """What an 8-bit product needs: levels [M, K64] uint8, stats [M, 4] float32, dots [threads, M, CHUNK_ROWS] int32."""

    levels: Any
    stats: Any
    dots: Any


class Workspace(NamedTuple):
    """Buffers of one running loop, for at most M rows (utterances × window).

    Attributes
    ----------
    hidden : ndarray [shape=(M, J16)], float32
    logits : ndarray [shape=(M, V16)], float32
    durations : ndarray [shape=(M, N16)], float32
    norms, best, sums, masks, zeros : ndarray
        [M, 4], [M], [4] float32; [V16 / 16] uint16; [4] float32, always zero.
    gates, gathered : ndarray [shape=(M, G)] and [shape=(M, H16)], float32
    rows, emitted : ndarray [shape=(M,)], int64
    chunk_best : ndarray [shape=(M, chunks)], float32
    scratch : Scratch
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
    scratch: Scratch


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


def scratch(rows: int, width: int, threads: int) -> Scratch:
    """Return the scratch of an 8-bit product for `rows` vectors of at most `width` elements."""
    return Scratch(
        aligned((rows, ceil_to(width, 64)), np.uint8),
        aligned((rows, 4), np.float32),
        aligned((threads, rows, CHUNK_ROWS), np.int32),
    )


def workspace(weights: Weights, rows: int, threads: int) -> Workspace:
    """Return buffers for `rows` rows, worked on by at most `threads` threads together."""
    joint, tokens = weights.predictor_bias.size, weights.rows.shape[1]
    gates = weights.bias.shape[1]
    return Workspace(
        hidden=aligned((rows, joint), np.float32),
        logits=aligned((rows, tokens), np.float32),
        durations=aligned((rows, weights.duration_bias.size), np.float32),
        norms=aligned((rows, 4), np.float32),
        best=aligned((rows,), np.float32),
        sums=aligned((4,), np.float32),
        masks=aligned((tokens // 16,), np.uint16),
        zeros=aligned((4,), np.float32),
        gates=aligned((rows, gates), np.float32),
        gathered=aligned((rows, gates // 4), np.float32),
        rows=aligned((rows,), np.int64),
        emitted=aligned((rows,), np.int64),
        chunk_best=aligned((rows, -(-tokens // CHUNK_ROWS)), np.float32),
        scratch=scratch(rows, max(joint, gates // 4), threads),
    )


def decoding_state(weights: Weights, layers: int, batch: int) -> DecodingState:
    """Return the state of `batch` utterances: zeros."""
    shape = (batch, layers, weights.bias.shape[1] // 4)
    floats = [aligned(shape, np.float32) for _ in range(4)]
    integers = [np.zeros(batch, np.int64) for _ in range(7)]
    return DecodingState._make([*floats, aligned((batch, weights.predictor_bias.size), np.float32), *integers])


def emitted_tokens(batch: int, capacity: int) -> Emitted:
    """Return room for `capacity` tokens of each utterance; memory is taken as tokens are written."""
    integers = [np.empty((batch, capacity), np.int32) for _ in range(3)]
    floats = [np.empty((batch, capacity), np.float32) for _ in range(2)]
    return Emitted(*integers, *floats)
