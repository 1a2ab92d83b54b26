"""Running statistics of activations: range, histogram and a sample of rows, in constant memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]
    Float64 = npt.NDArray[np.float64]
    Int64 = npt.NDArray[np.int64]

BINS = 2048
SAMPLE_ROWS = 256


@dataclass(slots=True)
class TensorStatistics:
    """What is known of one activation tensor after any number of batches.

    The histogram counts absolute values over ``[0, reach]``. Where a value exceeds `reach`, the range doubles and
    pairs of bins merge, so that no second pass is needed.

    Parameters
    ----------
    channels : int
        Size of the last axis.
    low, high : float
        Smallest and largest value seen, 0 included.
    """

    channels: int
    count: int = 0
    low: float = 0.0
    high: float = 0.0
    reach: float = 0.0
    histogram: Int64 = field(default_factory=lambda: np.zeros(BINS, np.int64))
    channel_absmax: Float32 = field(default_factory=lambda: np.zeros(0, np.float32))
    rows_seen: int = 0
    sample: Float32 = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    def __post_init__(self) -> None:
        if self.channel_absmax.size == 0:
            self.channel_absmax = np.zeros(self.channels, np.float32)
        if self.sample.size == 0:
            self.sample = np.zeros((0, self.channels), np.float32)

    @property
    def absmax(self) -> float:
        """Largest magnitude seen."""
        return max(-self.low, self.high)

    def update(self, values: Float32, rng: np.random.Generator) -> None:
        """Add one batch.

        Parameters
        ----------
        values : ndarray [shape=(..., channels)], float32
            Finite values.
        rng : numpy.random.Generator
            Draws the sample.
        """
        rows = values.reshape(-1, self.channels)
        magnitude = np.abs(rows)
        channel = magnitude.max(axis=0, initial=0.0)
        self.channel_absmax = np.maximum(self.channel_absmax, channel)
        self.low = min(self.low, float(rows.min(initial=0.0)))
        self.high = max(self.high, float(rows.max(initial=0.0)))
        self._grow(self.absmax)
        if self.reach > 0:
            index = np.minimum((magnitude.ravel() * np.float32(BINS / self.reach)).astype(np.int32), BINS - 1)
            self.histogram += np.bincount(index, minlength=BINS)
        self.count += rows.size
        self._take_sample(rows, rng)

    def _grow(self, needed: float) -> None:
        if self.reach == 0.0:
            self.reach = needed
        while self.reach < needed:
            self.histogram = np.concatenate(
                [
                    self.histogram.reshape(-1, 2).sum(axis=1),
                    np.zeros(BINS // 2, np.int64),
                ]
            )
            self.reach *= 2

    def _take_sample(self, rows: Float32, rng: np.random.Generator) -> None:
        """Reservoir sampling (algorithm R): every row seen is in the sample with equal chance."""
        room = SAMPLE_ROWS - len(self.sample)
        if room > 0:
            self.sample = np.concatenate([self.sample, rows[:room]])
        start = max(room, 0)
        if start < len(rows):
            slots = rng.integers(0, self.rows_seen + np.arange(start, len(rows)) + 1)
            for offset in np.flatnonzero(slots < SAMPLE_ROWS):
                self.sample[slots[offset]] = rows[start + offset]
        self.rows_seen += len(rows)

    def arrays(self) -> dict[str, Any]:
        """Return the state as arrays, for :meth:`restore`."""
        numbers = np.asarray([self.channels, self.count, self.rows_seen], np.int64)
        return {
            "numbers": numbers,
            "reach": np.asarray([self.low, self.high, self.reach], np.float64),
            "histogram": self.histogram,
            "channel_absmax": self.channel_absmax,
            "sample": self.sample,
        }

    @classmethod
    def restore(cls, arrays: dict[str, Any]) -> TensorStatistics:
        """Rebuild from :meth:`arrays`."""
        channels, count, rows_seen = (int(number) for number in arrays["numbers"])
        low, high, reach = (float(number) for number in arrays["reach"])
        return cls(
            channels,
            count,
            low,
            high,
            reach,
            np.asarray(arrays["histogram"], np.int64),
            np.asarray(arrays["channel_absmax"], np.float32),
            rows_seen,
            np.asarray(arrays["sample"], np.float32),
        )
