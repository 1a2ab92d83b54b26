"""Vector kernels of beam search against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tdt.kernels.decoder.tables import aligned
from tdt.kernels.vector.beam_rows import CUTS, cut_sums, mark_between, parted_sums
from tdt.kernels.vector.fused_rows import lane_bounds, mark_reaching
from tdt.kernels.vector.jit import inline  # not cached: a cache entry would not follow the callees
from tdt.kernels.vector.simd import float_dot, float_dots

ROWS = 64


@inline
def _lane_bounds(logits: Any, rows: Any, norms: Any, bonus: Any, out: Any) -> Any:
    return lane_bounds(logits, ROWS, rows, ROWS, norms, bonus, out)


@inline
def _mark_reaching(logits: Any, rows: Any, norms: Any, bonus: Any, limit: Any, masks: Any) -> Any:
    return mark_reaching(logits, ROWS, rows, ROWS, norms, bonus, np.float32(limit), masks)


@inline
def _mark_between(logits: Any, low: Any, high: Any, masks: Any) -> Any:
    return mark_between(logits, ROWS, np.float32(low), np.float32(high), masks)


@inline
def _cut_sums(logits: Any, top: Any, cut: Any, step: Any, out: Any) -> None:
    cut_sums(logits, ROWS, np.float32(top), np.float32(cut), np.float32(step), out)


@inline
def _parted_sums(logits: Any, top: Any, power: Any, cut: Any, out: Any) -> None:
    parted_sums(logits, ROWS, np.float32(top), np.float32(power), np.float32(cut), out)


@inline
def _dots(rows: Any, width: Any, x: Any, four: Any, single: Any) -> None:
    float_dots(rows, rows + 4 * width, rows + 8 * width, rows + 12 * width, x, width, four)
    for row in range(4):
        single[row] = float_dot(rows + 4 * row * width, x, width)


def at(array: Any) -> int:
    return int(array.ctypes.data)


@pytest.fixture
def table(rng: np.random.Generator) -> tuple[Any, Any, Any, Any]:
    """Logits, the five tables of rows, norms, bonuses of which some are minus infinity."""
    logits, rows, norms, bonus = (aligned(shape, np.float32) for shape in ((ROWS,), (5, ROWS), (4,), (ROWS,)))
    logits[:], rows[3:], norms[:3] = rng.normal(0, 3, ROWS), rng.random((2, ROWS)), (0.5, 0.25, 0.125)
    bonus[:] = np.where(rng.random(ROWS) < 0.2, -np.inf, rng.normal(0, 2, ROWS))
    return logits, rows, norms, bonus


def test_bounds_are_the_best_of_each_lane(table: tuple[Any, Any, Any, Any]) -> None:
    logits, rows, norms, bonus = table
    errors, out, masks = (
        rows[3] * norms[0] + rows[4] * norms[1] + norms[2],
        aligned((16,), np.float32),
        aligned((4,), np.uint16),
    )
    assert _lane_bounds(at(logits), at(rows), at(norms), at(bonus), at(out)) == logits.max()
    low, high = (logits - errors + bonus), (logits + errors + bonus)
    assert out == pytest.approx(low.reshape(-1, 16).max(axis=0), abs=1e-5)
    limit = float(np.sort(high)[-9]) - 1e-4
    assert _mark_reaching(at(logits), at(rows), at(norms), at(bonus), limit, at(masks)) == 9
    assert np.unpackbits(masks.view(np.uint8), bitorder="little").astype(bool).tolist() == (high >= limit).tolist()


def test_what_lies_between_is_marked(table: tuple[Any, Any, Any, Any]) -> None:
    logits, masks = table[0], aligned((4,), np.uint16)
    low, high = float(np.sort(logits)[10]), float(np.sort(logits)[20])
    assert _mark_between(at(logits), low, high, at(masks)) == 10
    marked = np.unpackbits(masks.view(np.uint8), bitorder="little").astype(bool)
    assert marked.tolist() == ((logits >= low) & (logits < high)).tolist()


def test_sums_beyond_cuts(table: tuple[Any, Any, Any, Any]) -> None:
    logits, out = table[0].astype(np.float64), aligned((16,), np.float32)
    top = logits.max()
    p = np.exp(logits - top)
    _cut_sums(at(table[0]), top, 1.5, 1.0, at(out))
    far = [logits < top - 1.5 - i for i in range(CUTS)]
    expected = [p.sum(), *(value for part in far for value in (p[part].sum(), (p[part] ** 2).sum()))]
    assert out[: len(expected)] == pytest.approx(np.array(expected), rel=1e-5)


@pytest.mark.parametrize("cut", [-np.inf, 0.5, 3.0, np.inf])
def test_sums_of_both_parts(table: tuple[Any, Any, Any, Any], cut: float) -> None:
    logits, out = table[0].astype(np.float64), aligned((16,), np.float32)
    top = logits.max()
    p, far = np.exp(logits - top), logits < top - cut
    t = p**0.33
    _parted_sums(at(table[0]), top, 0.33, cut, at(out))
    expected = [p[~far].sum(), t[~far].sum(), p[far].sum(), t[far].sum(), (p[far] ** 2).sum(), (t[far] ** 2).sum()]
    assert out[:6] == pytest.approx(np.array(expected), rel=1e-5)


def test_four_rows_give_the_bits_of_one(rng: np.random.Generator) -> None:
    rows, x, four, single = (aligned(shape, np.float32) for shape in ((4, 48), (48,), (4,), (4,)))
    rows[:], x[:] = rng.standard_normal((4, 48)), rng.standard_normal(48)
    _dots(at(rows), 48, at(x), at(four), single)
    assert four.tolist() == single.tolist()
    assert four == pytest.approx(rows.astype(np.float64) @ x, abs=1e-4)
