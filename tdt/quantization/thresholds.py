"""From a histogram of absolute values to the range that int8 shall cover."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from tdt.errors import OptionError

if TYPE_CHECKING:
    import numpy.typing as npt

    from tdt.quantization.statistics import TensorStatistics

    Float64 = npt.NDArray[np.float64]

Method = Literal["minmax", "percentile", "entropy", "mse"]
METHODS: tuple[Method, ...] = get_args(Method)

# An interval is moved to the middle of int8's range where that makes it this much narrower, at least.
_WORTH_CENTRING = 0.8

LEVELS = 127  # symmetric int8: -127 … 127, zero point 0
DEFAULT_PERCENTILE = 99.999


def threshold(statistics: TensorStatistics, method: Method, percentile: float = DEFAULT_PERCENTILE) -> float:
    """Return the absolute value that maps to 127.

    Parameters
    ----------
    statistics : TensorStatistics
        With at least one value.
    method : str
        ``minmax``: the largest magnitude seen. ``percentile``: the given percentile of magnitudes. ``entropy``: least
        Kullback-Leibler divergence between the histogram and its 8-bit version (TensorRT's entropy calibrator).
        ``mse``: least mean squared error, clipping and rounding counted alike.
    percentile : float
        In percent, for ``percentile``.

    Returns
    -------
    float
        Positive; 1.0 for a tensor that was zero throughout.
    """
    if statistics.absmax <= 0:
        return 1.0
    counts = statistics.histogram.astype(np.float64)
    if method == "minmax":
        return statistics.absmax
    if method == "percentile":
        found = _percentile(counts, percentile)
    elif method == "entropy":
        found = _entropy(counts)
    elif method == "mse":
        found = _mse(counts)
    else:
        raise OptionError("method", method, f"one of {', '.join(METHODS)}")
    return min(found * statistics.reach / len(counts), statistics.absmax)


@dataclass(frozen=True, slots=True)
class Grid:
    """The values that int8 stands for: ``scale * (level + offset)``, level in -127 … 127.

    Parameters
    ----------
    scale : float
        Step.
    offset : int
        Level that the middle of the range lies at. 0 for tensors that are about as negative as positive; the output
        of a SiLU is never below -0.279, and a grid around 0 would leave half of its levels unused. An integer, so
        that 0 is on the grid exactly.
    """

    scale: float
    offset: int = 0

    def levels(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the levels of `values`, as floats."""
        levels = np.rint(values / np.float32(self.scale)) - self.offset
        return np.asarray(np.clip(levels, -LEVELS, LEVELS), np.float32)


def grid(
    statistics: TensorStatistics, method: Method, percentile: float = DEFAULT_PERCENTILE, *, centre: bool = True
) -> Grid:
    """Return the int8 grid of a tensor: its range by `method`, moved to the middle where it is one-sided.

    Parameters
    ----------
    statistics : TensorStatistics
        Of the tensor.
    method, percentile
        As :func:`threshold` takes them.
    centre : bool
        Whether one-sided tensors may have an offset.
    """
    edge = threshold(statistics, method, percentile)
    low, high = max(statistics.low, -edge), min(statistics.high, edge)
    half = (high - low) / 2
    if not centre or statistics.absmax <= 0 or half > _WORTH_CENTRING * edge:
        return Grid(edge / LEVELS)
    scale = half / (LEVELS - 0.5)  # half a level is kept for rounding the offset
    return Grid(scale, round((high + low) / 2 / scale))


def _percentile(counts: Float64, percentile: float) -> float:
    cumulative = np.cumsum(counts)
    return float(np.searchsorted(cumulative, cumulative[-1] * percentile / 100.0) + 1)


def _mse(counts: Float64) -> float:
    """Return the edge, in bins, that minimises clipping plus rounding error."""
    centres = np.arange(len(counts)) + 0.5
    used = int(np.flatnonzero(counts)[-1]) + 1
    best, best_error = float(used), np.inf
    for edge in np.linspace(max(used * 0.05, 8.0), used, 160):
        step = edge / LEVELS
        quantised = np.minimum(np.round(centres / step), LEVELS) * step
        # Within a bin values spread evenly; their rounding error is at least that of a uniform distribution.
        floor = np.where(centres < edge, min(step, 1.0) ** 2 / 12.0, 0.0)
        error = float(np.dot(counts, np.maximum((centres - quantised) ** 2, floor)))
        if error < best_error:
            best, best_error = float(edge), error
    return best


def _entropy(counts: Float64) -> float:
    """Return the edge, in bins, of least divergence (Migacz, "8-bit inference with TensorRT", GTC 2017)."""
    used = int(np.flatnonzero(counts)[-1]) + 1
    levels = LEVELS + 1
    best, best_divergence = used, np.inf
    for edge in range(levels, used + 1, max(1, (used - levels) // 128)):
        reference = counts[:edge].copy()
        reference[-1] += counts[edge:].sum()
        divergence = _divergence(reference, counts[:edge], levels)
        if divergence < best_divergence:
            best, best_divergence = edge, divergence
    return float(best)


def _divergence(reference: Float64, kept: Float64, levels: int) -> float:
    group = np.minimum(np.arange(len(kept)) * levels // len(kept), levels - 1)
    occupied = kept > 0
    sums = np.bincount(group, weights=kept, minlength=levels)
    members = np.bincount(group, weights=occupied.astype(np.float64), minlength=levels)
    spread = np.where(occupied, (sums / np.maximum(members, 1))[group], 0.0)
    p = reference / reference.sum()
    q = spread / max(spread.sum(), 1e-30)
    mask = p > 0
    return float(np.sum(p[mask] * np.log(p[mask] / np.maximum(q[mask], 1e-12))))
