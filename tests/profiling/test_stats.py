"""Statistics of measurements, against definitions written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdt.errors import OptionError
from tdt.profiling import stats

SAMPLES = [4.0, 1.0, 3.0, 2.0]


def test_summary_keeps_every_sample_in_order() -> None:
    summary = stats.summarize(SAMPLES)
    assert summary.samples == tuple(SAMPLES)
    assert (summary.minimum, summary.median, summary.maximum, summary.mean) == (1.0, 2.5, 4.0, 2.5)
    # Linear interpolation at position 0.95 · 3 = 2.85 of the sorted samples.
    assert summary.p95 == pytest.approx(3.85)
    assert summary.stddev == pytest.approx(math.sqrt((2.25 + 0.25 + 0.25 + 2.25) / 3))


def test_one_sample_has_no_standard_deviation() -> None:
    summary = stats.summarize([2.0])
    assert summary.stddev is None
    assert summary.relative_stddev == 0.0
    assert str(stats.ratio(summary, summary)) == "1.00"


def test_no_samples_are_refused() -> None:
    with pytest.raises(OptionError, match="at least one measurement"):
        stats.summarize([])


def test_outliers_are_found_by_the_modified_z_score() -> None:
    samples = [10.0, 10.1, 9.9, 10.2, 9.8, 30.0]
    # Median 10.05, absolute deviations 0.05 0.05 0.15 0.15 0.25 19.95: their median is 0.15.
    scores = stats.modified_z_scores(samples)
    assert scores[5] == pytest.approx(0.6745 * 19.95 / 0.15)
    assert stats.summarize(samples).outliers == (5,)


def test_equal_samples_have_no_outliers_and_a_single_other_is_one() -> None:
    assert stats.summarize([1.0] * 5).outliers == ()
    assert stats.summarize([1.0] * 5 + [1.001]).outliers == (5,)


def test_ratio_propagates_both_errors() -> None:
    slow, fast = stats.summarize([19.0, 21.0]), stats.summarize([9.0, 11.0])
    quotient = stats.ratio(slow, fast)
    spread = 1 / 0.6745  # the median deviation is 1
    assert quotient.value == pytest.approx(2.0)
    assert quotient.stddev == pytest.approx(2.0 * math.sqrt((spread / 20) ** 2 + (spread / 10) ** 2))
    assert str(quotient) == "2.00 ± 0.33"


def test_ratio_is_not_moved_by_a_disturbed_run() -> None:
    slow, fast = stats.summarize([2.0] * 9 + [40.0]), stats.summarize([1.0] * 10)
    assert str(stats.ratio(slow, fast)) == "2.00 ± 0.00"


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.integers(1, 9)), min_size=1, max_size=30),
    st.sampled_from([0.0, 50.0, 95.0, 100.0]),
)
def test_weighted_percentile_is_that_of_the_repeated_values(pairs: list[tuple[float, int]], percent: float) -> None:
    values, counts = [value for value, _ in pairs], [count for _, count in pairs]
    expected = np.percentile(np.repeat(values, counts), percent)
    # Same interpolation, in another order of operations.
    assert stats.weighted_percentile(values, counts, percent) == pytest.approx(expected, rel=1e-12, abs=1e-9)


@pytest.mark.parametrize(
    ("seconds", "unit", "text"),
    [(2.5, "s", "2.500"), (0.025, "ms", "25.00"), (0.4, "ms", "400.0"), (2e-6, "µs", "2.000"), (0.0, "µs", "0.000")],
)
def test_units_read_well(seconds: float, unit: str, text: str) -> None:
    chosen = stats.time_unit(seconds)
    assert (chosen.name, chosen.text(seconds)) == (unit, text)


def test_bytes_are_binary() -> None:
    assert [stats.format_bytes(n) for n in (0, 1023, 1536, 5 * 2**20, 3 * 2**41)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "5.0 MiB",
        "6144.0 GiB",
    ]
