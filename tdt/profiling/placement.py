"""A summary of which provider runs the nodes of a graph, for rows and diagnoses."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tdt.protocols import Node

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
    providers: tuple[tuple[str, int], ...]

    @property
    def active(self) -> str:
        """Return the device's provider where any node runs on it, else cpu."""
        return next((name for name, _ in self.providers if name != "cpu"), "cpu")

    def __str__(self) -> str:
        named = ", ".join(f"{count} {operator}" for operator, count in self.cpu_operators[:4])
        return f"{self.on_cpu} of {self.nodes} nodes run on the CPU" + (f": {named}" if named else "")


def summarize_placement(nodes: Iterable[Node]) -> Placement:
    """Return the summary of nodes as :meth:`tdt.Recognizer.placement` lists them."""
    listed = list(nodes)
    cpu = [node for node in listed if node.provider == "CPUExecutionProvider"]
    computing = Counter(node.operator for node in cpu if node.computes)
    providers = Counter(_NAMES.get(node.provider, node.provider) for node in listed)
    return Placement(
        len(listed), len(cpu), sum(computing.values()), tuple(computing.most_common()), tuple(providers.most_common())
    )
