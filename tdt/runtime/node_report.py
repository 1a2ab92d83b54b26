"""Which provider runs which nodes of a model's graphs, grouped by operator: ONNX Runtime's own record of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tdt.model import FoundModel
    from tdt.runtime.backend import Backend

_MOST_OPERATORS = 8


@dataclass(frozen=True, slots=True)
class GraphPlacement:
    """Where the nodes of one graph run; field names are those of the JSON.

    Parameters
    ----------
    role, file : str
        encoder, decoder_joint, decoder or joiner, and its file name.
    providers : mapping of str to mapping of str to int
        Execution provider to operator to nodes.
    computing_on_cpu : mapping of str to int
        Operators on the CPU that are more than shape arithmetic, although a device was asked for.
    """

    role: str
    file: str
    providers: Mapping[str, Mapping[str, int]]
    computing_on_cpu: Mapping[str, int]


def place_graphs(found: FoundModel, backend: Backend) -> list[GraphPlacement]:
    """Start a session of each graph and ask where its nodes went; nothing is refused here.

    Parameters
    ----------
    found : FoundModel
        From :func:`tdt.model.finding.inspect_model`.
    backend : Backend
        The provider. TensorRT gets the encoder alone: only that has shapes an engine is built for.

    Raises
    ------
    ProviderError
        Where the provider cannot start.
    """
    from tdt.runtime.placement import computing_on_cpu, count
    from tdt.runtime.provider_options import encoder_profile
    from tdt.runtime.session import Session

    tensorrt = backend.on_device and backend.provider != "cuda"
    placed = []
    for role, graph in found.graphs.items():
        if tensorrt and role != "encoder":
            continue
        names = [port.name for port in graph.inputs]
        profile = encoder_profile(names, found.spec, backend) if tensorrt else None
        session = Session(graph.path, backend, profile=profile, cpu_nodes="allow")
        nodes = session.placement()
        session.close()
        on_cpu = computing_on_cpu(nodes) if backend.on_device else {}
        by_provider = {provider: dict(operators) for provider, operators in count(nodes).items()}
        placed.append(GraphPlacement(role, graph.path.name, by_provider, dict(on_cpu)))
    return placed


def render(placed: Sequence[GraphPlacement]) -> str:
    """Return the placements as text, the most frequent operators of each provider first."""
    lines = []
    for graph in placed:
        lines.append(f"{graph.role} ({graph.file})")
        for provider, operators in sorted(graph.providers.items(), key=lambda item: -sum(item[1].values())):
            lines.append(f"  {provider}: {sum(operators.values())} nodes: {_listed(operators)}")
        if graph.computing_on_cpu:
            number = sum(graph.computing_on_cpu.values())
            lines.append(f"  CHECK: {number} of them compute on the CPU: {_listed(graph.computing_on_cpu)}")
    return "\n".join(lines) + "\n"


def _listed(operators: Mapping[str, int]) -> str:
    ranked = sorted(operators.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{number} {operator}" for operator, number in ranked[:_MOST_OPERATORS])
    return shown + (f" and {len(ranked) - _MOST_OPERATORS} operators more" if len(ranked) > _MOST_OPERATORS else "")
