"""What a graph is made of: ports, weights without their numbers, operators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# TensorProto.DataType -> (name, bits an element)
DTYPES: dict[int, tuple[str, int]] = {
    1: ("float32", 32), 2: ("uint8", 8), 3: ("int8", 8), 4: ("uint16", 16), 5: ("int16", 16), 6: ("int32", 32),
    7: ("int64", 64), 8: ("string", 0), 9: ("bool", 8), 10: ("float16", 16), 11: ("float64", 64), 12: ("uint32", 32),
    13: ("uint64", 64), 14: ("complex64", 64), 15: ("complex128", 128), 16: ("bfloat16", 16), 17: ("float8e4m3fn", 8),
    18: ("float8e4m3fnuz", 8), 19: ("float8e5m2", 8), 20: ("float8e5m2fnuz", 8), 21: ("uint4", 4), 22: ("int4", 4),
    23: ("float4e2m1", 4),
}  # fmt: skip
_FLOATS = frozenset({"float32", "float16", "float64", "bfloat16"})


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a graph.

    Parameters
    ----------
    name : str
        Name in the graph.
    dtype : str
        Element type as NumPy names it.
    shape : tuple of (int, str or None), or None
        A number where the dimension is fixed, its symbol where it is free; None where no rank is declared.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...] | None

    @property
    def rank(self) -> int | None:
        """Number of dimensions, where declared."""
        return None if self.shape is None else len(self.shape)

    def fixed(self, axis: int) -> int | None:
        """Return the size of `axis` where it is a number."""
        if self.shape is None or not -len(self.shape) <= axis < len(self.shape):
            return None
        size = self.shape[axis]
        return size if isinstance(size, int) else None


@dataclass(frozen=True, slots=True)
class Tensor:
    """A weight: everything but its numbers.

    Parameters
    ----------
    external : mapping of str to str, or None
        The entries location, offset and length of weights kept in another file.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int
    external: Mapping[str, str] | None = None

    @property
    def is_float(self) -> bool:
        """Whether the elements are floating-point numbers."""
        return self.dtype in _FLOATS


@dataclass(frozen=True, slots=True)
class Node:
    """One operator; `ints` holds its integer attributes, each as a tuple."""

    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    ints: Mapping[str, tuple[int, ...]]
