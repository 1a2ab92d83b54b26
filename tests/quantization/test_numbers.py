"""Ranges, weights, saturation, smoothing: the arithmetic of quantisation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tdt.errors import OptionError
from tdt.profiling.stats import edit_distance
from tdt.quantization.agreement import tokens_equal
from tdt.quantization.budget import choose
from tdt.quantization.recipe import Recipe
from tdt.quantization.saturation import saturating_columns
from tdt.quantization.sensitivity import Damage, Ranked
from tdt.quantization.statistics import BINS, SAMPLE_ROWS, TensorStatistics
from tdt.quantization.thresholds import LEVELS, METHODS, threshold
from tdt.quantization.weights import quantise_weight

from .. import naive


def collect(batches: list[np.ndarray]) -> TensorStatistics:
    seen = TensorStatistics(batches[0].shape[-1])
    for number, batch in enumerate(batches):
        seen.update(batch.astype(np.float32), np.random.default_rng(number))
    return seen


def test_running_statistics_equal_those_of_all_values_at_once(rng: np.random.Generator) -> None:
    batches = [rng.standard_normal((1, 50, 8)).astype(np.float32) * scale for scale in (1.0, 3.0, 0.1, 9.0)]
    seen, everything = collect(batches), np.concatenate([batch.reshape(-1, 8) for batch in batches])
    assert seen.absmax == np.abs(everything).max()
    np.testing.assert_array_equal(seen.channel_absmax, np.abs(everything).max(axis=0))
    assert seen.histogram.sum() == seen.count == everything.size
    edges = np.arange(BINS + 1) * (seen.reach / BINS)
    expected = np.histogram(np.abs(everything), edges)[0]
    # A value on a bin's edge may round into its neighbour in float32.
    assert np.abs(seen.histogram - expected).sum() <= 4


def test_the_sample_is_bounded_and_made_of_rows_seen(rng: np.random.Generator) -> None:
    rows = rng.standard_normal((5 * SAMPLE_ROWS, 4)).astype(np.float32)
    seen = collect([rows[:100], rows[100:]])
    assert seen.sample.shape == (SAMPLE_ROWS, 4)
    known = {row.tobytes() for row in rows}
    assert all(row.tobytes() in known for row in seen.sample)
    late = {row.tobytes() for row in rows[2 * SAMPLE_ROWS :]}
    assert sum(row.tobytes() in late for row in seen.sample) > SAMPLE_ROWS // 3  # not just the first rows


def test_statistics_survive_a_checkpoint(rng: np.random.Generator) -> None:
    seen = collect([rng.standard_normal((300, 6)).astype(np.float32)])
    again = TensorStatistics.restore(seen.arrays())
    for name, value in seen.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], value)


@pytest.mark.parametrize("method", METHODS)
def test_methods_agree_where_there_is_no_tail(rng: np.random.Generator, method: str) -> None:
    seen = collect([rng.uniform(-1, 1, (20000, 4))])
    assert threshold(seen, method) == pytest.approx(1.0, abs=0.03)  # type: ignore[arg-type]


def test_a_lone_outlier_moves_minmax_only(rng: np.random.Generator) -> None:
    values = rng.standard_normal((100000, 4))
    values[123, 2] = 400.0
    seen = collect([values])
    assert threshold(seen, "minmax") == 400.0
    assert threshold(seen, "percentile") < 60.0
    assert threshold(seen, "entropy") < 60.0
    assert threshold(seen, "mse") < 200.0  # clipping one value of 400 costs as much as rounding 400000 coarsely


def test_mse_is_the_best_of_all_ranges(rng: np.random.Generator) -> None:
    values = rng.standard_t(4, (50000, 2)).astype(np.float32)
    seen = collect([values])
    found = threshold(seen, "mse")
    best = min(naive.quantisation_mse(values, edge) for edge in np.linspace(1, seen.absmax, 300))
    assert naive.quantisation_mse(values, found) <= 1.05 * best


def test_silence_gets_a_usable_range() -> None:
    assert threshold(collect([np.zeros((10, 4))]), "mse") == 1.0


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_weights_round_to_within_half_a_step(rows: int, columns: int, seed: int) -> None:
    weight = np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)
    weight[:, 0] = 0.0
    quantised = quantise_weight(weight)
    assert quantised.values.dtype == np.int8
    assert (quantised.scales > 0).all()
    # Half a step, and float32's rounding of the quotient.
    assert (np.abs(quantised.dequantised() - weight) <= quantised.scales * 0.5001).all()


def test_narrow_columns_keep_to_seven_bits(rng: np.random.Generator) -> None:
    weight = rng.standard_normal((64, 6)).astype(np.float32)
    narrow = np.array([True, False, True, False, False, False])
    values = quantise_weight(weight, narrow).values
    assert np.abs(values[:, narrow]).max() == 64
    assert np.abs(values[:, ~narrow]).max() == LEVELS


@pytest.mark.parametrize("seed", range(3))
def test_saturation_is_found_where_int16_overflows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(-127, 128, (9, 20)).astype(np.int8)
    sample = (rng.standard_normal((40, 9)) * 50).astype(np.float32)
    levels = np.clip(np.rint(sample / 0.7), -128, 127)
    found = saturating_columns(values, levels)
    np.testing.assert_array_equal(found, naive.saturating_columns(values, sample, 0.7))
    assert 0 < found.sum() < 20


def test_narrow_columns_cannot_saturate(rng: np.random.Generator) -> None:
    weight = rng.standard_normal((32, 16)).astype(np.float32)
    values = quantise_weight(weight, np.ones(16, bool)).values
    assert not saturating_columns(values, np.full((4, 32), 127.0, np.float32)).any()
    assert not saturating_columns(values, np.full((4, 32), -128.0, np.float32)).any()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=8), st.lists(st.integers(0, 3), max_size=8))
def test_edit_distance_equals_the_naive_one(left: list[int], right: list[int]) -> None:
    assert edit_distance(left, right) == naive.edit_distance(list(left), list(right))


def test_token_agreement_counts_edits() -> None:
    assert tokens_equal([[1, 2, 3, 4]], [[1, 2, 9, 4]]) == 0.75
    assert tokens_equal([[]], [[]]) == 1.0
    assert tokens_equal([[]], [[5]]) == 0.0


def ranked(errors: list[float]) -> list[Ranked]:
    return [Ranked(f"g{index}", "attention", 1, 100, Damage(error, 1.0, 0.0)) for index, error in enumerate(errors)]


def test_the_budget_keeps_the_harmless_and_gives_up_no_more_than_needed() -> None:
    errors = [0.01, 0.2, 0.02, 0.05]

    def measure(names: object) -> Damage:
        return Damage(float(np.sqrt(sum(errors[int(name[1:])] ** 2 for name in names))), 1.0, 0.0)  # type: ignore[attr-defined]

    choice = choose(ranked(errors), measure, 0.04)
    assert set(choice.quantised) == {"g0", "g2"}
    assert choice.left == ("g1", "g3")
    assert choice.damage is not None
    assert choice.damage.error <= 0.04
    assert choose(ranked(errors), measure, 0.5).left == ()
    nothing = choose(ranked(errors), measure, 0.001)
    assert nothing.quantised == ()
    assert nothing.damage is None
    with pytest.raises(OptionError, match="budget"):
        choose(ranked(errors), measure, 0.0)


@pytest.mark.parametrize(
    ("option", "value"),
    [("method", "magic"), ("body", "int4"), ("smoothquant", "1.5"), ("smoothquant", "some"), ("percentile", 12.0)],
)
def test_recipes_refuse_what_they_cannot_do(option: str, value: object) -> None:
    with pytest.raises(OptionError, match=option):
        Recipe(**{option: value})  # type: ignore[arg-type]
