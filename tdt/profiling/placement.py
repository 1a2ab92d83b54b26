"""Which provider runs the nodes of a graph, and whether that matters: shape arithmetic on the CPU costs nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# ORT keeps integer arithmetic on shapes on the CPU on purpose, also under a device provider.
SHAPE_OPERATORS = frozenset([
    "Add", "And", "Cast", "Concat", "Constant", "ConstantOfShape", "Div", "Equal", "Expand", "Floor",
    "Gather", "Greater", "Identity", "Less", "Max", "Min", "Mod", "Mul", "Not", "Or", "Range", "Reshape",
    "Shape", "Size", "Slice", "Squeeze", "Sub", "Tile", "Transpose", "Unsqueeze", "Where",
])  # fmt: skip

_NAMES = {
    "CPUExecutionProvider": "cpu",
    "CUDAExecutionProvider": "cuda",
    "TensorrtExecutionProvider": "tensorrt",
    "NvTensorRTRTXExecutionProvider": "tensorrt-rtx",
}


@dataclass(frozen=True, slots=True)
class Placement:
    """Nodes by provider; the fields are the JSON's.

    Parameters
    ----------
    nodes : int
        Of the optimised graph.
    on_cpu : int
        Of these, on the CPU provider.
    computing_on_cpu : int
        Of these, more than shape arithmetic.
    cpu_operators : tuple of (str, int)
        Computing operators on the CPU and how many, the most frequent first.
    providers : tuple of (str, int)
        Nodes of each provider, by our names, most first.
    """

    nodes: int
    on_cpu: int
    computing_on_cpu: int
    cpu_operators: tuple[tuple[str, int], ...]
    providers: tuple[tuple[str, int], ...] = ()

    @property
    def active(self) -> str:
        """Return the device's provider where any node runs on it, else cpu."""
        return next((name for name, _ in self.providers if name != "cpu"), "cpu")

    def __str__(self) -> str:
        named = ", ".join(f"{count} {operator}" for operator, count in self.cpu_operators[:4])
        return f"{self.on_cpu} of {self.nodes} nodes run on the CPU" + (f": {named}" if named else "")


def place(nodes: Iterable[tuple[str, str]]) -> Placement:
    """Return the placement of (provider, operator) pairs; providers by ONNX Runtime's names."""
    listed = list(nodes)
    cpu = [operator for provider, operator in listed if provider == "CPUExecutionProvider"]
    computing = Counter(operator for operator in cpu if operator not in SHAPE_OPERATORS)
    providers = Counter(_NAMES.get(provider, provider) for provider, _ in listed)
    return Placement(
        len(listed), len(cpu), sum(computing.values()), tuple(computing.most_common()), tuple(providers.most_common())
    )
