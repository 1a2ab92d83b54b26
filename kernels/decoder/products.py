"""Chunks of a matrix product in compiled code: what one thread of a team does at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..vector.jit import inline
from ..vector.memory import get_float, get_int, keep_apart, set_float
from ..vector.rows import add_scaled, estimate
from ..vector.simd import BYTE_STEP
from . import task as f
from .buffers import CHUNK_ROWS
from .columns import multiply_columns
from .dense import ZERO, multiply_bytes, multiply_floats, zero_point
from .tables import GROUP_ROWS, column_block, column_blocks

# Kinds of products, handed on to the team (dense.ZERO says why they are NumPy's).
FLOATS, SCALED, ESTIMATED, BY_COLUMNS = map(np.int64, range(4))
FLOAT_CHUNK_ROWS = 32  # as many bytes as CHUNK_ROWS rows of levels: what the last to finish is waited for
# Places in the JOB array that say what the product is.
PLACE, ORDER, N, K, X, M, OUT = 17, 18, 19, 20, 21, 22, 23
_column_block = inline(column_block)
blocks_of = inline(column_blocks)


@inline
def chunks_of(n: int, rows: int) -> int:
    """Return how many chunks of `rows` rows cover `n`."""
    return (n + rows - 1) // rows


@inline
def product_chunk(task: Any, kind: int, chunk: int) -> None:
    """Do one chunk of the product, for all its vectors."""
    keep_apart()
    if kind == FLOATS:
        _float_rows(task, chunk * FLOAT_CHUNK_ROWS)
    elif kind == BY_COLUMNS:
        _column_rows(task, chunk)
    else:
        _byte_rows(task, kind, chunk)


@inline
def _float_rows(task: Any, start: int) -> None:
    job = task[f.JOB]
    n, k, out = get_int(job, N), get_int(job, K), get_int(job, OUT)
    w, order = get_int(job, PLACE) + 4 * start * k, get_int(job, ORDER)
    count = min(FLOAT_CHUNK_ROWS, n - start)
    multiply_floats(w, order, count, k, get_int(job, X), k, get_int(job, M), out + 4 * start, n)


@inline
def _byte_rows(task: Any, kind: int, chunk: int) -> None:
    job, start, dots = task[f.JOB], chunk * CHUNK_ROWS, task[f.DOTS]
    place, n, m, out = get_int(job, PLACE), get_int(job, N), get_int(job, M), get_int(job, OUT)
    count = min(CHUNK_ROWS, n - start)
    k64 = (get_int(job, K) + BYTE_STEP - 1) // BYTE_STEP * BYTE_STEP
    levels = task[f.OUTPUT_LEVELS] if kind == ESTIMATED else task[place + 1]
    multiply_bytes(task[f.ISA], levels + start * k64, count, k64, task[f.LEVELS], task[f.LEVEL_WIDTH], m, dots)
    for b in range(m):
        zero, dots_at = zero_point(task, b), dots + 4 * b * CHUNK_ROWS
        if kind == SCALED:
            step, out_at = get_float(task[f.STATS], 4 * b), out + 4 * (b * n + start)
            add_scaled(dots_at, count, zero, step, task[place + 2] + 4 * start, task[place + 3] + 4 * start, out_at)
        else:
            _estimate_rows(task, b, chunk, start, count, zero, dots_at)


@inline
def _column_rows(task: Any, block: int) -> None:
    """Estimate the logits of one block of the output layer by columns; one vector after another finds it cached."""
    job = task[f.JOB]
    n, k = get_int(job, N), get_int(job, K)
    all_groups = chunks_of(n, GROUP_ROWS)
    first, groups = _column_block(all_groups, blocks_of(all_groups), block)
    start = first * GROUP_ROWS
    count = min(groups * GROUP_ROWS, n - start)
    for b in range(get_int(job, M)):
        multiply_columns(task, b, first, groups, k, task[f.DOTS])
        _estimate_rows(task, b, block, start, count, ZERO, task[f.DOTS])


@inline
def _estimate_rows(task: Any, b: int, chunk: int, start: int, count: int, zero: int, dots: int) -> None:
    """Turn the integer products of `count` rows from `start` on into estimates, and keep the best lower bound."""
    keep_apart()
    n = task[f.TOKENS]
    rows, norms, out = task[f.ROW_TABLES] + 4 * start, task[f.NORMS] + 16 * b, task[f.LOGITS] + 4 * (b * n + start)
    low = estimate(dots, count, zero, get_float(task[f.STATS], 4 * b), rows, n, norms, out)
    set_float(task[f.CHUNK_BEST], b * task[f.CHUNK_BEST_WIDTH] + chunk, low)
