"""Weights in 8 bits: one scale a column, symmetric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tdt.quantization.thresholds import LEVELS

if TYPE_CHECKING:
    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]
    Int8 = npt.NDArray[np.int8]
    Bool = npt.NDArray[np.bool_]

# Two products of a uint8 and an int8 of at most 64 in magnitude fit int16: 255 * 64 * 2 = 32640.
NARROW_LEVELS = 64


@dataclass(frozen=True, slots=True)
class QuantisedWeight:
    """``values * scales`` approximates the matrix.

    Parameters
    ----------
    values : ndarray [shape=(K, N)], int8
        In -127 … 127; in -64 … 64 in narrow columns.
    scales : ndarray [shape=(N,)], float32
        Positive.
    """

    values: Int8
    scales: Float32

    def dequantised(self) -> Float32:
        """Return ``values * scales``."""
        return self.values.astype(np.float32) * self.scales


def quantise_weight(weight: Float32, narrow: Bool | None = None) -> QuantisedWeight:
    """Quantise a matrix column by column.

    Parameters
    ----------
    weight : ndarray [shape=(K, N)], float32
        Matrix of a linear layer, inputs first.
    narrow : ndarray [shape=(N,)], bool, optional
        Columns to keep within 7 bits.

    Returns
    -------
    QuantisedWeight
        A column of zeros gets the scale 1 (TensorRT refuses scales that are not positive).
    """
    levels = np.full(weight.shape[1], LEVELS, np.float32)
    if narrow is not None:
        levels[narrow] = NARROW_LEVELS
    largest = np.abs(weight).max(axis=0)
    scales = np.where(largest > 0, largest / levels, np.float32(1.0)).astype(np.float32)
    values = np.clip(np.rint(weight / scales), -levels, levels).astype(np.int8)
    return QuantisedWeight(values, scales)
