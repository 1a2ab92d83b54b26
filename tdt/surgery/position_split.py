"""Take the position projections out of the encoder.

Every layer projects the same relative positions with its own matrix: 8 % of a 0.6B encoder's arithmetic on ten
seconds, and it depends on the length only. Split off, the projections are computed once for the longest clip so far,
and a shorter clip takes rows from the middle: row R - 1 is position 0 whatever the reach R.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tdt.surgery.editing import EditableGraph
from tdt.surgery.positions import position_slice

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

FRAMES_INPUT = "frames"
_FLOAT, _INT64 = 1, 7


@dataclass(frozen=True, slots=True)
class PositionSplit:
    """The graph that projects positions.

    Parameters
    ----------
    model : onnx.ModelProto
        Input `frames` (int64 scalar: encoder frames T); outputs ``[1, 2 T - 1, d]``, one a layer.
    names : tuple of str
        Its outputs, and the inputs that the encoder has for them.
    width : int
        d.
    """

    model: onnx.ModelProto
    names: tuple[str, ...]
    width: int


def split_positions(graph: EditableGraph, folder: Path | None = None) -> PositionSplit | None:
    """Turn the position projections of `graph` into inputs and return the graph that computes them.

    Returns None, and changes nothing, where the encoder has no position table in NeMo's form, or where the
    projections are quantised.
    """
    table, frames = _table(graph)
    if table is None or frames is None:
        return None
    projections = [
        node
        for node in graph.consumers.get(table, [])
        if node.op_type == "MatMul" and node.input[0] == table and node.input[1] in graph.initializers
    ]
    widths = {(graph.shape_of(node.input[1]) or (0, 0))[1] for node in projections}
    if not projections or len(widths) != 1:
        return None
    names = tuple(node.output[0] for node in projections)
    width = widths.pop()
    split = PositionSplit(_projector(graph, frames, names, folder), names, width)
    for node in projections:
        _make_input(graph, node.output[0], ["one", "position_rows", width])
        node.output[0] = graph.fresh("position/replaced")
    graph.reindex()
    graph.finish()
    return split


def _table(graph: EditableGraph) -> tuple[str | None, str | None]:
    """Return the value that holds a clip's rows of the table, and the scalar T that they are cut by."""
    for concat in graph.graph.node:  # the halved table of quantised encoders
        if concat.op_type == "Concat" and concat.output[0].startswith("position/table"):
            ahead = graph.producers.get(graph.producers[concat.input[0]].input[0])
            frames = graph.producers.get(ahead.input[2]) if ahead is not None and ahead.op_type == "Slice" else None
            if frames is not None and frames.op_type == "Sub":
                return concat.output[0], _scalar_behind(graph, frames.input[1])
    node = position_slice(graph)
    return (None, None) if node is None else (node.output[0], _scalar_behind(graph, node.input[1]))


def _scalar_behind(graph: EditableGraph, begin: str) -> str | None:
    """Return T from ``unsqueeze(reach - T)``."""
    unsqueeze = graph.producers.get(begin)
    sub = (
        graph.producers.get(unsqueeze.input[0]) if unsqueeze is not None and unsqueeze.op_type == "Unsqueeze" else None
    )
    if sub is None or sub.op_type != "Sub" or graph.scalar(sub.input[0]) is None:
        return None
    return str(sub.input[1])


def _projector(graph: EditableGraph, frames: str, names: tuple[str, ...], folder: Path | None) -> onnx.ModelProto:
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(graph.model)
    inner = EditableGraph(copy, folder)
    del copy.graph.input[:]
    copy.graph.input.append(onnx.helper.make_tensor_value_info(FRAMES_INPUT, _INT64, []))
    for node in copy.graph.node:
        for index, name in enumerate(node.input):
            if name == frames:
                node.input[index] = FRAMES_INPUT
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.helper.make_tensor_value_info(name, _FLOAT, None) for name in names)
    inner.reindex()
    inner.finish()
    return copy


def _make_input(graph: EditableGraph, name: str, shape: list[str | int]) -> None:
    import onnx

    dims = [1 if dim == "one" else dim for dim in shape]
    graph.graph.input.append(onnx.helper.make_tensor_value_info(name, _FLOAT, dims))
