"""Statistics of measurements: every sample is kept, and summarised late."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tdt.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

# Iglewicz and Hoaglin, "How to Detect and Handle Outliers" (1993): |modified z| > 3.5.
OUTLIER_THRESHOLD = 3.5

# Scale of the median absolute deviation that makes it the standard deviation of a normal distribution: Φ⁻¹(0.75).
_MAD_TO_SIGMA = 0.6745


@dataclass(frozen=True, slots=True)
class Summary:
    """What a row says of its samples.

    Parameters
    ----------
    samples : tuple of float
        Every measurement, in the order taken.
    minimum, median, p95, maximum, mean : float
        Percentiles interpolate linearly between samples.
    stddev : float or None
        Sample standard deviation (ddof 1); None, not 0, for a single sample.
    outliers : tuple of int
        Positions of samples whose modified z-score exceeds :data:`OUTLIER_THRESHOLD`.
    """

    samples: tuple[float, ...]
    minimum: float
    median: float
    p95: float
    maximum: float
    mean: float
    stddev: float | None
    outliers: tuple[int, ...]

    @property
    def relative_stddev(self) -> float:
        """Coefficient of variation; 0 where it is not defined."""
        return self.stddev / self.mean if self.stddev is not None and self.mean else 0.0


@dataclass(frozen=True, slots=True)
class Ratio:
    """A quotient of two measured quantities; `stddev` is None where either has a single sample."""

    value: float
    stddev: float | None

    def __str__(self) -> str:
        return f"{self.value:.2f}" if self.stddev is None else f"{self.value:.2f} ± {self.stddev:.2f}"


def summarize(samples: Sequence[float]) -> Summary:
    """Return the summary of `samples`, all of them kept.

    Raises
    ------
    OptionError
        There are no samples.
    """
    values = np.asarray(samples, dtype=np.float64)
    if values.size == 0:
        raise OptionError("samples", [], "at least one measurement")
    scores = modified_z_scores(samples)
    return Summary(
        samples=tuple(float(value) for value in values),
        minimum=float(values.min()),
        median=float(np.median(values)),
        p95=float(np.percentile(values, 95)),
        maximum=float(values.max()),
        mean=float(values.mean()),
        stddev=float(values.std(ddof=1)) if values.size > 1 else None,
        outliers=tuple(index for index, score in enumerate(scores) if abs(score) > OUTLIER_THRESHOLD),
    )


def modified_z_scores(samples: Sequence[float]) -> list[float]:
    """Return 0.6745 · (x − median) / MAD of each sample (Iglewicz and Hoaglin 1993).

    Where more than half of the samples are equal the MAD is 0: they score 0, and any other sample infinity.
    """
    values = np.asarray(samples, dtype=np.float64)
    deviations = values - np.median(values)
    spread = float(np.median(np.abs(deviations)))
    if spread == 0.0:
        return [0.0 if deviation == 0.0 else math.copysign(math.inf, deviation) for deviation in deviations]
    return [float(score) for score in _MAD_TO_SIGMA * deviations / spread]


def ratio(numerator: Summary, denominator: Summary) -> Ratio:
    """Return median(numerator) / median(denominator) with its uncertainty, errors taken as independent.

    σ_r = r · √((σ_a / a)² + (σ_b / b)²): https://en.wikipedia.org/wiki/Propagation_of_uncertainty#Example_formulae,
    each σ estimated from the median absolute deviation, which a few disturbed runs do not move.
    """
    value = numerator.median / denominator.median if denominator.median else math.inf
    if numerator.stddev is None or denominator.stddev is None:
        return Ratio(value, None)
    return Ratio(value, value * math.hypot(_relative_spread(numerator), _relative_spread(denominator)))


def _relative_spread(summary: Summary) -> float:
    """Return the robust standard deviation over the median."""
    if not summary.median:
        return 0.0
    deviations = np.abs(np.asarray(summary.samples) - summary.median)
    return float(np.median(deviations)) / _MAD_TO_SIGMA / summary.median


def weighted_percentile(values: Sequence[float], counts: Sequence[int], percent: float) -> float:
    """Return the percentile of `values` with each repeated `counts` times, interpolated linearly.

    The same as ``np.percentile(np.repeat(values, counts), percent)`` without the repetition.
    """
    order = np.argsort(np.asarray(values, dtype=np.float64), kind="stable")
    ordered = np.asarray(values, dtype=np.float64)[order]
    ends = np.cumsum(np.asarray(counts, dtype=np.int64)[order])
    position = percent / 100 * (int(ends[-1]) - 1)
    low, high = math.floor(position), math.ceil(position)
    at_low = float(ordered[np.searchsorted(ends, low, side="right")])
    at_high = float(ordered[np.searchsorted(ends, high, side="right")])
    return at_low + (at_high - at_low) * (position - low)


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of time and how many of it make a second."""

    name: str
    per_second: float

    def text(self, seconds: float) -> str:
        """Return `seconds` in this unit, with three digits after the point at most and no unit name."""
        value = seconds * self.per_second
        digits = 3 if abs(value) < 10 else 2 if abs(value) < 100 else 1
        return f"{value:.{digits}f}"


_UNITS = (Unit("s", 1.0), Unit("ms", 1e3), Unit("µs", 1e6))


def time_unit(seconds: float) -> Unit:
    """Return the unit in which `seconds` reads well; a table takes its first row's unit for all rows."""
    for unit in _UNITS:
        if abs(seconds) * unit.per_second >= 1:
            return unit
    return _UNITS[-1]


def format_bytes(count: float) -> str:
    """Return a byte count in binary units: ``1536`` is ``1.5 KiB``."""
    value, names = float(count), ["B", "KiB", "MiB", "GiB"]
    while abs(value) >= 1024 and len(names) > 1:
        value /= 1024
        names.pop(0)
    return f"{value:.0f} {names[0]}" if names[0] == "B" else f"{value:.1f} {names[0]}"


def edit_distance(ours: Sequence[object], theirs: Sequence[object]) -> int:
    """Return the Levenshtein distance: insertions, deletions and substitutions that make one of the other."""
    numbers: dict[object, int] = {}
    columns = np.array([numbers.setdefault(item, len(numbers)) for item in theirs], dtype=np.int64)
    steps = np.arange(len(theirs) + 1)
    row = steps.copy()
    for index, item in enumerate(ours, start=1):
        substituted = row[:-1] + (columns != numbers.setdefault(item, len(numbers)))
        best = np.concatenate(([index], np.minimum(row[1:] + 1, substituted)))
        # Insertions run along the row: d[j] = min over k <= j of best[k] + (j - k).
        row = np.minimum.accumulate(best - steps) + steps
    return int(row[-1])


def agreement(ours: Sequence[Sequence[object]], theirs: Sequence[Sequence[object]]) -> float:
    """Return the share of tokens that agree over a set of clips: 1 − edits / tokens of the longer side of each clip."""
    edits = sum(edit_distance(a, b) for a, b in zip(ours, theirs, strict=True))
    tokens = sum(max(len(a), len(b)) for a, b in zip(ours, theirs, strict=True))
    return 1.0 - edits / tokens if tokens else 1.0
