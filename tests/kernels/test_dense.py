"""The products, quantisation and elementwise kernels of the native decoder, against plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tdt.kernels.decoder import tables
from tdt.kernels.decoder import task as fields
from tdt.kernels.decoder.buffers import CHUNK_ROWS
from tdt.kernels.decoder.columns import list_columns, multiply_columns
from tdt.kernels.decoder.dense import INTERLEAVED, PLAIN, multiply_bytes, multiply_floats, zero_shift
from tdt.kernels.vector.jit import host_features, inline  # not cached: a cache entry would not follow the callees
from tdt.kernels.vector.rows import exponential_sums, lstm_cell, quantize_row
from tdt.kernels.vector.simd import ISA_NAMES, available, float_dot

ISAS = available(host_features())


@inline
def run_floats(w: int, order: int, n: int, k: int, x: int, m: int, out: int, stride: int) -> None:
    multiply_floats(w, order, n, k, x, k, m, out, stride)


@inline
def run_bytes(isa: int, w: int, n: int, k: int, x: int, m: int, dots: int) -> None:
    multiply_bytes(isa, w, n, k, x, k, m, dots)


@inline
def run_dot(w: int, x: int, k: int) -> float:
    return float_dot(w, x, k)


@inline
def run_quantize(x: int, k: int, levels: int, result: int) -> None:
    quantize_row(x, k, levels, result)


@inline
def run_exponentials(logits: int, n: int, top: float, power: float, cut: float, out: int) -> None:
    exponential_sums(logits, n, np.float32(top), np.float32(power), np.float32(cut), out)


@inline
def run_cell(gates: int, width: int, cell: int, cell_out: int, hidden_out: int) -> None:
    lstm_cell(gates, width, cell, cell_out, hidden_out)


def at(array: np.ndarray) -> int:
    return array.ctypes.data


def copied(array: Any, dtype: Any = np.float32) -> np.ndarray:
    out = tables.aligned(np.shape(array), dtype)
    out[:] = array
    return out


def documented_sum(w: np.ndarray, x: np.ndarray) -> np.float32:
    """16 lanes in order of k with one rounding a step, then lanes i and i + 8, + 4, + 2, + 1."""
    lanes = np.zeros(16, np.float32)
    for start in range(0, len(w), 16):
        product = w[start : start + 16].astype(np.float64) * x[start : start + 16].astype(np.float64)
        lanes = (product + lanes).astype(np.float32)  # float64 holds the product exactly: as good as a fused step
    for half in (8, 4, 2, 1):
        lanes = lanes[:half] + lanes[half : 2 * half]
    return lanes[0]


@pytest.mark.parametrize("m", [1, 2, 3, 8])
@pytest.mark.parametrize("order", [PLAIN, INTERLEAVED])
def test_float_products_sum_in_the_documented_order(rng: np.random.Generator, m: int, order: int) -> None:
    n, k = 16, 96
    w, x = copied(rng.standard_normal((1, n, k))), copied(rng.standard_normal((m, k)))
    out = copied(np.ones((m, n)))
    stored = tables.interleave(w, 16) if order == INTERLEAVED else w
    run_floats(at(stored), order, n, k, at(x), m, at(out), n)
    for b in range(m):
        for r in range(n):
            expected = documented_sum(w[0, r], x[b])
            # A double rounding in `documented_sum` may differ from FMA in the last bit, once in 2^29 steps.
            assert out[b, r] == np.float32(1) + expected
            assert run_dot(at(w[0, r]), at(x[b]), k) == expected


@pytest.mark.parametrize("isa", ISAS, ids=[ISA_NAMES[isa] for isa in ISAS])
@pytest.mark.parametrize("m", [1, 2, 5])
@pytest.mark.parametrize("extreme", [False, True])
def test_all_instruction_sets_give_the_same_integers(rng: np.random.Generator, isa: int, m: int, extreme: bool) -> None:
    n, k = 24, 192
    w = copied(rng.choice([-127, 127], (1, n, k)) if extreme else rng.integers(-127, 128, (1, n, k)), np.int8)
    x = copied(rng.choice([1, 255], (m, k)) if extreme else rng.integers(1, 256, (m, k)), np.uint8)
    dots = tables.aligned((m, CHUNK_ROWS), np.int32)
    stored = tables.interleave(w, 64)  # kept by name: the kernel sees its address only
    run_bytes(isa, at(stored), n, k, at(x), m, at(dots))
    expected = (x.astype(np.int64) - zero_shift(isa)) @ w[0].T.astype(np.int64)
    assert np.array_equal(dots[:, :n], expected)


@inline
def run_columns(task: Any, width: int, first: int, groups: int, dots: int) -> int:
    count = list_columns(task, 0, width)
    multiply_columns(task, 0, first, groups, width, dots)
    return count


@pytest.mark.parametrize("isa", ISAS, ids=[ISA_NAMES[isa] for isa in ISAS])
@pytest.mark.parametrize("zeros", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("extreme", [False, True])
def test_products_by_columns_are_those_by_rows(rng: np.random.Generator, isa: int, zeros: float, extreme: bool) -> None:
    n, k = 64 * 33 + 5, 48  # three blocks of 11 groups, and a last group that is not full
    w = rng.choice([-127, 127], (n, k)) if extreme else rng.integers(-127, 128, (n, k))
    x = rng.choice([1, 255], k) if extreme else rng.integers(1, 256, k)
    levels = copied(np.where(rng.random(k) < zeros, 1, x), np.uint8)
    columns = tables.by_columns(w.astype(np.int8), k)
    places, kept, counts = (tables.aligned((k + 4,), kind) for kind in (np.int64, np.uint8, np.int64))
    task = np.zeros(fields.MATRICES, np.int64)
    task[fields.ISA], task[fields.LEVELS], task[fields.OUTPUT_COLUMNS] = isa, at(levels), at(columns)
    task[fields.COLUMNS], task[fields.COLUMN_LEVELS], task[fields.COLUMN_COUNTS] = at(places), at(kept), at(counts)
    expected = np.zeros(64 * 34, np.int64)
    expected[:n] = w.astype(np.int64) @ (levels.astype(np.int64) - 1)
    found = []
    blocks = tables.column_blocks(34)
    for block in range(blocks):
        first, groups = tables.column_block(34, blocks, block)
        dots = copied(np.full(64 * groups, 7), np.int32)
        assert run_columns(task, k, first, groups, at(dots)) == np.count_nonzero(levels != 1)
        found.append(dots)
    assert np.array_equal(np.concatenate(found), expected)


@pytest.mark.parametrize("values", ["signed", "positive", "zeros", "tiny"])
def test_rows_are_quantised_to_the_nearest_of_254_steps(rng: np.random.Generator, values: str) -> None:
    k = 160
    row = rng.standard_normal(k)
    row = {"signed": row, "positive": np.maximum(row, 0), "zeros": row * 0, "tiny": row * 1e-36}[values]
    x, levels, result = copied(row), tables.aligned((k,), np.uint8), tables.aligned((4,), np.float32)
    run_quantize(at(x), k, at(levels), at(result))
    step, zero, squares, errors = result.tolist()
    assert levels.min() >= 1
    restored = step * (levels.astype(np.float64) - zero)
    assert np.abs(restored - x).max() <= (step * 0.51 if values != "tiny" else 1e-30)
    assert np.all(levels[x == 0] == zero)
    # float32 sums of squares of 160 numbers: 1e-6 relative is ten times their rounding.
    assert squares == pytest.approx(float((x.astype(np.float64) ** 2).sum()), rel=1e-6, abs=1e-40)
    assert errors == pytest.approx(float(((x - restored) ** 2).sum()), rel=1e-2, abs=1e-12)


def test_exponential_sums(rng: np.random.Generator) -> None:
    logits = copied(np.concatenate([rng.normal(0, 8, 1000), [200.0, -300.0], np.full(6, -np.inf)]))
    out = tables.aligned((4,), np.float32)
    top = np.float32(203)
    run_exponentials(at(logits), len(logits), float(top), 0.33, 180.0, at(out))
    below = logits.astype(np.float64) - top
    far = below < -180
    expected = [np.exp(below), np.exp(0.33 * below), np.exp(below)[far] ** 2, np.exp(0.33 * below)[far] ** 2]
    # The exponential is within 3e-7, its argument within 2^-24 × 200.
    assert out == pytest.approx([part.sum() for part in expected], rel=2e-5, abs=1e-30)


def test_lstm_cell_is_the_formula(rng: np.random.Generator) -> None:
    width = 48
    gates, cell = copied(rng.normal(0, 4, 4 * width)), copied(rng.normal(0, 2, width))
    gates[:4] = [200, -200, 0, 88.5]
    cell_out, hidden_out = tables.aligned((width,), np.float32), tables.aligned((width,), np.float32)
    run_cell(at(gates), width, at(cell), at(cell_out), at(hidden_out))
    i, o, f, g = np.split(gates.astype(np.float64), 4)
    i, o, f = (1 / (1 + np.exp(-gate)) for gate in (i, o, f))
    expected = f * cell + i * np.tanh(g)
    # Three exponentials within 3e-7 each, on numbers of order 1.
    assert np.allclose(cell_out, expected, atol=2e-6)
    assert np.allclose(hidden_out, o * np.tanh(expected), atol=2e-6)


@pytest.mark.parametrize("n", [7, 16, 31])
def test_rows_are_quantised_once_a_row(rng: np.random.Generator, n: int) -> None:
    matrix = rng.standard_normal((n, 100)).astype(np.float32) * rng.uniform(0.01, 10, (n, 1)).astype(np.float32)
    matrix[3] = 0
    levels, scales = tables.quantize_rows(matrix)
    assert np.abs(levels).max() == 127
    assert np.all(np.abs(levels * scales[:, None] - matrix) <= scales[:, None] * 0.5001)
    packed = tables.pack_dense([matrix], [(levels, scales)], floats=True)
    assert packed.values.shape == (1, tables.ceil_to(n, 16), 112)
    assert packed.levels.shape == (1, tables.ceil_to(n, 16), 128)
    assert np.array_equal(packed.sums[0, :n], levels.sum(axis=1))
    assert packed.values.ctypes.data % 64 == packed.levels.ctypes.data % 64 == 0


def test_certified_bounds_hold_on_rows_of_all_sizes(rng: np.random.Generator) -> None:
    """The bound of every row covers the estimate's true error, also where activation and error are aligned."""
    k, n = 640, 64
    matrix = (rng.standard_normal((n, k)) * 10.0 ** rng.uniform(-3, 3, (n, 1))).astype(np.float32)
    levels, scales = tables.quantize_rows(matrix)
    rows = tables.screening_rows((levels, scales), np.zeros(64, np.int32), matrix, np.zeros(n, np.float32))
    error = matrix.astype(np.float64) - levels * scales[:, None].astype(np.float64)
    for index in range(n):
        x = error[index] / np.linalg.norm(error[index])
        assert abs(error[index] @ x) <= rows[3, index]
        assert rows[4, index] >= np.linalg.norm(levels[index] * np.float64(scales[index]))
