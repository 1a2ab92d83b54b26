"""From a histogram of absolute values to the range that int8 shall cover."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from tdt.errors import OptionError

if TYPE_CHECKING:
    import numpy.typing as npt

    from tdt.quantization.statistics import TensorStatistics

    Float64 = npt.NDArray[np.float64]

Method = Literal["minmax", "percentile", "entropy", "mse"]
METHODS: tuple[Method, ...] = get_args(Method)

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
