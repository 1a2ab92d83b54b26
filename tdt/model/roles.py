"""Tell what part of a transducer a graph is, by its ports: names are accidents of exporters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.errors import ModelError, ModelMismatchError
from tdt.onnxfile import GraphInfo, read_graph

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tdt.onnxfile import Port

# role -> (input ranks, output ranks); floats and integers are told by the rank: lengths and targets are integers.
_RANKS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "encoder": ((3, 1), (3, 1)),
    "decoder_joint": ((3, 2, 1, 3, 3), (4, 1, 3, 3)),
    "decoder": ((2, 1, 3, 3), (3, 1, 3, 3)),
    "joiner": ((3, 3), (4,)),
}
_DESCRIBED = {
    "encoder": "an encoder",
    "decoder_joint": "a fused decoder and joint network",
    "decoder": "a prediction network",
    "joiner": "a joint network",
}


def role_of(graph: GraphInfo) -> str | None:
    """Return which part of a transducer the ports of `graph` are those of, or None."""
    return next(
        (role for role, ranks in _RANKS.items() if _fits(graph.inputs, ranks[0]) and _fits(graph.outputs, ranks[1])),
        None,
    )


def _fits(ports: Sequence[Port], ranks: tuple[int, ...]) -> bool:
    if len(ports) != len(ranks):
        return False
    return all(port.rank in {None, rank} and _kind_fits(port, rank) for port, rank in zip(ports, ranks, strict=True))


def _kind_fits(port: Port, rank: int) -> bool:
    kinds = {"float32"} if rank >= 3 else {"int32", "int64"}
    return port.dtype in kinds


def check_roles(graphs: Mapping[str, GraphInfo]) -> None:
    """Refuse graphs whose ports are not those of their role.

    Raises
    ------
    ModelMismatchError
        Where a file holds another part, or something else.
    """
    for role, graph in graphs.items():
        if _fits(graph.inputs, _RANKS[role][0]) and _fits(graph.outputs, _RANKS[role][1]):
            continue
        actual = role_of(graph)
        is_what = f"{_DESCRIBED[actual]}: files were swapped" if actual else f"something else ({ports_text(graph)})"
        raise ModelMismatchError(
            f"{graph.path} should hold {_DESCRIBED[role]}, but holds {is_what}. Download the model again."
        )


def ports_text(graph: GraphInfo) -> str:
    """Return the ports of a graph in one line."""

    def listed(ports: Sequence[Port]) -> str:
        shown = [f"{p.name} {p.dtype}{list(p.shape) if p.shape is not None else ''}" for p in ports[:6]]
        return ", ".join(shown) or "none"

    return f"inputs {listed(graph.inputs)}; outputs {listed(graph.outputs)}"


def kind_of_export(paths: Sequence[Path]) -> str | None:
    """Say what kind of export a folder without a transducer's files holds, where a graph can tell."""
    for path in paths[:4]:
        try:
            graph = read_graph(path)
        except ModelError:
            continue
        if _fits(graph.inputs, (3, 1)) and len(graph.outputs) in {1, 2} and role_of(graph) is None:
            return f"a CTC export ({path.name} gives log-probabilities straight from audio features)"
    return None
