"""A tensor as it lies in a checkpoint: its numbers are read when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# What is stored under each name; bfloat16 is the upper half of a float32, which NumPy does not know.
DTYPES: dict[str, np.dtype[Any]] = {
    "float64": np.dtype("<f8"), "float32": np.dtype("<f4"), "float16": np.dtype("<f2"), "bfloat16": np.dtype("<u2"),
    "int64": np.dtype("<i8"), "int32": np.dtype("<i4"), "int16": np.dtype("<i2"), "int8": np.dtype("i1"),
    "uint8": np.dtype("u1"), "bool": np.dtype("?"),
}  # fmt: skip
MOST_AXES = 8


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor: where its numbers are, and how they are to be read.

    Parameters
    ----------
    dtype : str
        One of :data:`DTYPES`.
    shape : tuple of int
    data : memoryview
        Bytes of the storage that it is a view of.
    offset : int
        Elements before its first one.
    strides : tuple of int, optional
        Elements from one index to the next along each axis; None where rows follow each other.
    big_endian : bool
        Whether the file was written on a big-endian machine.

    Raises
    ------
    ValueError
        Where it reaches beyond its storage; says how.
    """

    dtype: str
    shape: tuple[int, ...]
    data: memoryview
    offset: int = 0
    strides: tuple[int, ...] | None = None
    big_endian: bool = False

    def __post_init__(self) -> None:
        if len(self.shape) > MOST_AXES or (self.strides is not None and len(self.strides) != len(self.shape)):
            raise ValueError(f"{len(self.shape)} axes")
        if min((*self.shape, self.offset, *(self.strides or ())), default=0) < 0:
            raise ValueError("a negative size, offset or stride")
        held = len(self.data) // DTYPES[self.dtype].itemsize
        # An expanded tensor repeats a number by a stride of 0; none in a state has more elements than its storage.
        if self.count > held or (self.count and self._last() >= held):
            raise ValueError(f"elements beyond its storage, which holds {held}")

    @property
    def count(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def is_float(self) -> bool:
        """Whether the elements are floating-point numbers."""
        return "float" in self.dtype

    def _last(self) -> int:
        strides = self.strides if self.strides is not None else _packed(self.shape)
        return self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, strides, strict=True))

    def values(self) -> Array:
        """Return the numbers, floating-point ones as float32; a view of the file where that is what it holds."""
        kind = DTYPES[self.dtype].newbyteorder(">" if self.big_endian else "<")
        strides = None if self.strides is None else tuple(kind.itemsize * step for step in self.strides)
        array: Array = np.ndarray(self.shape, kind, self.data, self.offset * kind.itemsize, strides)
        if self.dtype == "bfloat16":
            return (array.astype(np.uint32) << 16).view(np.float32)
        return array.astype(np.float32, copy=False) if self.is_float else array


def _packed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))
