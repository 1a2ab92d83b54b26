"""Matrix × few vectors in compiled code: each weight row is read once for all of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..vector.jit import inline
from ..vector.memory import get_float, keep_apart
from ..vector.rows import quantize_row
from ..vector.simd import (
    AVX2,
    BYTE_STEP,
    FLOAT_STEP,
    ROWS,
    TILE_COLUMNS,
    byte_strip,
    byte_tile,
    float_strip,
    float_tile,
)
from . import task as f
from .buffers import CHUNK_ROWS

# Numbers to hand on or to count from. Compiled code is made anew for every Python constant that is an argument, each
# time with all that is called from there: NumPy's integers are not taken for constants.
ZERO, ONE = np.int64(0), np.int64(1)
PLAIN, INTERLEAVED = ZERO, ONE  # how the rows of a float32 matrix lie


@inline
def multiply_floats(
    w: int, order: int, n: int, k: int, x: int, x_stride: int, m: int, out: int, out_stride: int
) -> None:
    """Add w @ x[b] to out[b] for `m` vectors of `k` floats and `n` rows, multiples of 16 and 8; addresses, strides."""
    keep_apart()
    stride, step = k, FLOAT_STEP
    if order == INTERLEAVED:
        stride, step = FLOAT_STEP, FLOAT_STEP * ROWS
    for r in range(0, n, ROWS):
        w_at, x_at, out_at = w + 4 * r * k, x, out + 4 * r
        for _ in range(m // TILE_COLUMNS):
            float_tile(w_at, stride, step, x_at, x_stride, k, out_at, out_stride)
            x_at += 4 * TILE_COLUMNS * x_stride
            out_at += 4 * TILE_COLUMNS * out_stride
        if m % TILE_COLUMNS:
            float_strip(w_at, stride, step, x_at, x_stride, k, out_at, out_stride)


@inline
def multiply_bytes(isa: int, w: int, n: int, k: int, x: int, x_stride: int, m: int, dots: int) -> None:
    """Store the integer products of `n` interleaved rows of `k` bytes with `m` vectors in dots [m, CHUNK_ROWS].

    On AVX2 the vectors enter as their bytes minus 128 (see :func:`zero_shift`).
    """
    keep_apart()
    stride, step = BYTE_STEP, BYTE_STEP * ROWS
    for r in range(0, n, ROWS):
        w_at, x_at, out_at = w + r * k, x, dots + 4 * r
        for _ in range(m // TILE_COLUMNS):
            byte_tile(isa, w_at, stride, step, x_at, x_stride, k, out_at, CHUNK_ROWS)
            x_at += TILE_COLUMNS * x_stride
            out_at += 4 * TILE_COLUMNS * CHUNK_ROWS
        if m % TILE_COLUMNS:
            byte_strip(isa, w_at, stride, step, x_at, x_stride, k, out_at, CHUNK_ROWS)


@inline
def zero_shift(isa: int) -> int:
    """Return what the integer products of `isa` have already subtracted from each activation byte."""
    return 128 if isa == AVX2 else 0


@inline
def quantize_vectors(task: Any, x: int, k: int, first: int, m: int) -> None:
    """Quantise `m` rows of `k` floats from `first` on to LEVELS; STATS[b] = step, zero point, Σ x², Σ error²."""
    for b in range(first, first + m):
        quantize_row(x + 4 * b * k, k, task[f.LEVELS] + b * task[f.LEVEL_WIDTH], task[f.STATS] + 16 * b)


@inline
def zero_point(task: Any, b: int) -> Any:
    """Return what to take off each activation byte of row `b`, less what the instructions have taken off."""
    return int(get_float(task[f.STATS], 4 * b + 1)) - zero_shift(task[f.ISA])
