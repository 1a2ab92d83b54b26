"""Weights in float16: what fits and what is lost, one weight in memory at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.errors import QuantizationError
from tdt.quantization.placing import PLACED_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt
    import onnx

    from tdt.surgery import EditableGraph

    Place = Callable[[str, npt.NDArray[Any]], onnx.TensorProto]

LARGEST = 65504.0  # float16's largest number
SMALLEST_NORMAL = 2.0**-14  # below it float16 keeps fewer than 11 bits


class HalfWeights:
    """Converts constants of a graph to float16 and counts what that does to them.

    Parameters
    ----------
    graph : EditableGraph
    place : callable, optional
        Takes a name and an array of :data:`PLACED_BYTES` or more, and returns a tensor that says where it now lies.

    Attributes
    ----------
    tensors, values : int
        What was converted.
    vanished : int
        Numbers other than zero that became zero.
    subnormal : int
        Numbers that float16 holds with fewer than 11 bits, those included.
    largest : float
        Of all, by magnitude.
    """

    def __init__(self, graph: EditableGraph, place: Place | None = None) -> None:
        self._graph = graph
        self._place = place
        self._peaks: dict[str, float] = {}
        self.tensors = self.values = self.vanished = self.subnormal = 0
        self.largest = 0.0

    def fits(self, name: str) -> bool:
        """Return whether float16 can hold the weight `name`.

        Raises
        ------
        QuantizationError
            Where it is no finite number.
        """
        if name not in self._peaks:
            weight = self._graph.weight(name)
            peak = float(np.abs(weight).max(initial=0.0))
            if not np.isfinite(peak):
                raise QuantizationError(
                    f"The weight {name!r} holds numbers that are not finite, so the model works in no precision. "
                    "Download or export it again."
                )
            self._peaks[name] = peak
        return self._peaks[name] <= LARGEST

    def convert(self, name: str) -> str:
        """Add the float16 form of the weight `name` to the graph and return its name."""
        weight = self._graph.weight(name)
        with np.errstate(over="ignore"):
            half = np.clip(weight, -LARGEST, LARGEST).astype(np.float16)
        magnitude = np.abs(weight)
        self.tensors += 1
        self.values += weight.size
        self.vanished += int(np.count_nonzero((magnitude > 0) & (half == 0)))
        self.subnormal += int(np.count_nonzero((magnitude > 0) & (magnitude < SMALLEST_NORMAL)))
        self.largest = max(self.largest, float(magnitude.max(initial=0.0)))
        fresh = self._graph.fresh(f"{name}/half")
        if self._place is not None and half.nbytes >= PLACED_BYTES:
            return self._graph.add_tensor(self._place(fresh, half))
        return self._graph.add_constant(fresh, half, exact_name=True)
