"""Chunks of a matrix product in compiled code: what one thread of a team does at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..vector.jit import inline
from ..vector.memory import get_float, get_int, keep_apart, set_float
from ..vector.rows import add_scaled, estimate
from ..vector.simd import BYTE_STEP
from . import task as f
from .buffers import CHUNK_ROWS, FLOAT_CHUNK_ROWS
from .columns import multiply_columns
from .dense import ZERO, multiply_bytes, multiply_floats, zero_point
from .tables import GROUP_ROWS, column_block, column_blocks

# Kinds of products, handed on to the team (dense.ZERO says why they are NumPy's).
FLOATS, SCALED, ESTIMATED, BY_COLUMNS = map(np.int64, range(4))
# Places in the JOB array that say what the product is.
PLACE, ORDER, N, K, X, M, OUT = 17, 18, 19, 20, 21, 22, 23
_column_block = inline(column_block)
blocks_of = inline(column_blocks)


@inline
def chunks_of(n: int, rows: int) -> int:
    """Return how many chunks of `rows` rows cover `n`."""
    return (n + rows - 1) // rows


@inline
def chunk_rows(task: Any, kind: int, chunk: int) -> Any:
    """Return the first row of a chunk, and how many it has."""
    n = get_int(task[f.JOB], N)
    if kind == BY_COLUMNS:
        groups = chunks_of(n, GROUP_ROWS)
        first, count = _column_block(groups, blocks_of(groups), chunk)
        return first * GROUP_ROWS, min(count * GROUP_ROWS, n - first * GROUP_ROWS)
    rows = FLOAT_CHUNK_ROWS if kind == FLOATS else CHUNK_ROWS
    return chunk * rows, min(rows, n - chunk * rows)


@inline
def product_chunk(task: Any, kind: int, chunk: int, out: int, stride: int) -> None:
    """Do one chunk of the product, for all its vectors.

    `out` is where the first row's result of the first vector goes (or is added to: :func:`adds_up`); the results of the
    next vector lie `stride` floats further.
    """
    keep_apart()
    start, count = chunk_rows(task, kind, chunk)
    if kind == FLOATS:
        job, k = task[f.JOB], get_int(task[f.JOB], K)
        w = get_int(job, PLACE) + 4 * start * k
        multiply_floats(w, get_int(job, ORDER), count, k, get_int(job, X), k, get_int(job, M), out, stride)
    elif kind == BY_COLUMNS:
        _column_rows(task, chunk, start, count, out, stride)
    else:
        _byte_rows(task, kind, chunk, start, count, out, stride)


@inline
def adds_up(kind: int) -> Any:
    """Say whether a product is added to what stands there."""
    return kind <= SCALED


@inline
def _byte_rows(task: Any, kind: int, chunk: int, start: int, count: int, out: int, stride: int) -> None:
    job, dots = task[f.JOB], task[f.DOTS]
    place, m = get_int(job, PLACE), get_int(job, M)
    k64 = (get_int(job, K) + BYTE_STEP - 1) // BYTE_STEP * BYTE_STEP
    levels = task[f.OUTPUT_LEVELS] if kind == ESTIMATED else task[place + 1]
    multiply_bytes(task[f.ISA], levels + start * k64, count, k64, task[f.LEVELS], task[f.LEVEL_WIDTH], m, dots)
    for b in range(m):
        zero, dots_at, out_at = zero_point(task, b), dots + 4 * b * CHUNK_ROWS, out + 4 * b * stride
        if kind == SCALED:
            step = get_float(task[f.STATS], 4 * b)
            add_scaled(dots_at, count, zero, step, task[place + 2] + 4 * start, task[place + 3] + 4 * start, out_at)
        else:
            _estimate_rows(task, b, chunk, start, count, zero, dots_at, out_at)


@inline
def _column_rows(task: Any, block: int, start: int, count: int, out: int, stride: int) -> None:
    """Estimate the logits of one block of the output layer by columns; one vector after another finds it cached."""
    job = task[f.JOB]
    first, groups = start // GROUP_ROWS, chunks_of(count, GROUP_ROWS)
    for b in range(get_int(job, M)):
        multiply_columns(task, b, first, groups, get_int(job, K), task[f.DOTS])
        _estimate_rows(task, b, block, start, count, ZERO, task[f.DOTS], out + 4 * b * stride)


@inline
def _estimate_rows(task: Any, b: int, chunk: int, start: int, count: int, zero: int, dots: int, out: int) -> None:
    """Turn the integer products of `count` rows from `start` on into estimates, and keep the best lower bound."""
    keep_apart()
    rows, norms = task[f.ROW_TABLES] + 4 * start, task[f.NORMS] + 16 * b
    low = estimate(dots, count, zero, get_float(task[f.STATS], 4 * b), rows, task[f.TOKENS], norms, out)
    set_float(task[f.CHUNK_BEST], b * task[f.CHUNK_BEST_WIDTH] + chunk, low)
