"""Matrix × few vectors in compiled code: each weight row is read once for all of them."""

from __future__ import annotations

from typing import Any

from .buffers import CHUNK_ROWS
from .jit import inline
from .rows import add_scaled, quantize_row
from .simd import (
    AVX2,
    BYTE_STEP,
    FLOAT_STEP,
    ROWS,
    TILE_COLUMNS,
    address_of,
    byte_strip,
    byte_tile,
    float_strip,
    float_tile,
)


@inline
def multiply_floats(w: Any, blocked: bool, x: Any, m: int, out: Any) -> None:  # noqa: FBT001
    """Add w @ x[b] to out[b] for the first `m` vectors; float32, [N16, K16] × [≥ m, K16] → [≥ m, ≥ N16]."""
    n, k = w.shape
    stride, step = (FLOAT_STEP, FLOAT_STEP * ROWS) if blocked else (k, FLOAT_STEP)
    x_stride, out_stride = x.shape[1], out.shape[1]
    for r in range(0, n, ROWS):
        w_at = address_of(w, r * k)
        b = 0
        while b + TILE_COLUMNS <= m:
            x_at, out_at = address_of(x, b * x_stride), address_of(out, b * out_stride + r)
            float_tile(w_at, stride, step, x_at, x_stride, k, out_at, out_stride)
            b += TILE_COLUMNS
        while b < m:
            x_at, out_at = address_of(x, b * x_stride), address_of(out, b * out_stride + r)
            float_strip(w_at, stride, step, x_at, x_stride, k, out_at, out_stride)
            b += 1


@inline
def multiply_bytes(isa: int, w: Any, start: int, stop: int, x: Any, m: int, dots: Any) -> None:
    """Store the integer products of rows start..stop (multiples of 8) with the first `m` vectors in dots[b, row - start].

    On AVX2 the vectors enter as their bytes minus 128 (see :func:`zero_shift`).
    """
    k = w.shape[1]
    stride, step = BYTE_STEP, BYTE_STEP * ROWS
    x_stride, out_stride = x.shape[1], dots.shape[1]
    for r in range(start, stop, ROWS):
        w_at = address_of(w, r * k)
        b = 0
        while b + TILE_COLUMNS <= m:
            x_at, out_at = address_of(x, b * x_stride), address_of(dots, b * out_stride + r - start)
            byte_tile(isa, w_at, stride, step, x_at, x_stride, k, out_at, out_stride)
            b += TILE_COLUMNS
        while b < m:
            x_at, out_at = address_of(x, b * x_stride), address_of(dots, b * out_stride + r - start)
            byte_strip(isa, w_at, stride, step, x_at, x_stride, k, out_at, out_stride)
            b += 1


@inline
def zero_shift(isa: int) -> int:
    """Return what the integer products of `isa` have already subtracted from each activation byte."""
    return 128 if isa == AVX2 else 0


@inline
def quantize_vectors(x: Any, m: int, levels: Any, stats: Any) -> None:
    """Quantise the first `m` rows of x to bytes; stats[b] = step, zero point, Σ x², Σ error²."""
    for b in range(m):
        x_at, out_at = address_of(x, b * x.shape[1]), address_of(levels, b * levels.shape[1])
        quantize_row(x_at, x.shape[1], out_at, address_of(stats, b * stats.shape[1]))


@inline
def dense(isa: int, quantized: bool, layer: Any, index: int, x: Any, m: int, out: Any, work: Any) -> None:  # noqa: FBT001
    """Add matrix `index` of `layer` × x[b] to out[b], in the precision that is asked for."""
    if not quantized:
        multiply_floats(layer.values[index], True, x, m, out)  # noqa: FBT003
        return
    levels, scales, sums = layer.levels[index], layer.scales[index], layer.sums[index]
    quantize_vectors(x, m, work.levels, work.stats)
    shift = zero_shift(isa)
    n = levels.shape[0]
    for start in range(0, n, CHUNK_ROWS):
        stop = min(start + CHUNK_ROWS, n)
        multiply_bytes(isa, levels, start, stop, work.levels, m, work.dots)
        for b in range(m):
            zero = int(work.stats[b, 1]) - shift
            out_at = address_of(out, b * out.shape[1] + start)
            tables = address_of(scales, start), address_of(sums, start)
            dots_at = address_of(work.dots, b * work.dots.shape[1])
            add_scaled(dots_at, stop - start, zero, work.stats[b, 0], tables[0], tables[1], out_at)
