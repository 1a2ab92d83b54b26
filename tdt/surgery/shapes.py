"""Shapes that a Reshape can copy itself instead of having them computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import onnx

    from tdt.surgery.editing import EditableGraph


class Axis(NamedTuple):
    """The length of an axis of a value."""

    value: str
    number: int


def copy_batch_axis(graph: EditableGraph) -> int:
    """Replace ``[shape(x)[0], -1, constant…]`` by ``[0, -1, constant…]`` in Reshape nodes; return how many.

    Attention reshapes ``[B, T, d]`` to ``[B, -1, heads, d / heads]`` and back; 0 copies the batch axis.
    """
    changed = 0
    for node in graph.graph.node:
        if node.op_type != "Reshape":
            continue
        first, *rest = dims_of(graph, node.input[1]) or [0]
        constants = [dim for dim in rest if isinstance(dim, int)]
        if isinstance(first, int) or first.number != 0 or len(constants) < len(rest) or 0 in constants:
            continue
        if not _same_batch(graph, node.input[0], first.value):
            continue
        constant = np.asarray([0, *constants], np.int64)
        node.input[1] = graph.add_constant(f"{node.output[0]}/shape", constant)
        changed += 1
    graph.reindex()
    graph.finish()
    return changed


def dims_of(graph: EditableGraph, name: str) -> list[int | Axis] | None:
    """Return the entries of a shape made by Concat: constants, and axes of other values; None for any other."""
    node = graph.producers.get(name)
    if node is None or node.op_type != "Concat":
        return None
    dims: list[int | Axis] = []
    for part in node.input:
        value, axis = graph.constant(part), _axis_of(graph, part)
        if value is not None:
            dims.extend(int(item) for item in value.ravel())
        elif axis is not None:
            dims.append(axis)
        else:
            return None
    return dims


def _axis_of(graph: EditableGraph, name: str) -> Axis | None:
    unsqueeze = graph.producers.get(name)
    gather = graph.producers.get(unsqueeze.input[0]) if unsqueeze is not None else None
    if unsqueeze is None or unsqueeze.op_type != "Unsqueeze" or gather is None or gather.op_type != "Gather":
        return None
    shape, number = graph.producers.get(gather.input[0]), graph.scalar(gather.input[1])
    if shape is None or shape.op_type != "Shape" or number is None:
        return None
    return Axis(str(shape.input[0]), int(number))


_KEEPS_BATCH = frozenset(
    {"Add", "DequantizeLinear", "LayerNormalization", "MatMul", "Mul", "QuantizeLinear", "Transpose"}
)


def _same_batch(graph: EditableGraph, name: str, source: str) -> bool:
    """Whether both values come from one through nodes that keep the batch axis."""
    return bool(_batch_ancestors(graph, name) & _batch_ancestors(graph, source))


def _batch_ancestors(graph: EditableGraph, name: str) -> set[str]:
    found = {name}
    for _ in range(6):
        node = graph.producers.get(name)
        if node is None or not _keeps_batch(node):
            break
        if node.op_type in ("Reshape",):
            break
        name = next((value for value in node.input if value not in graph.initializers), "")
        found.add(name)
    return found - {""}


def _keeps_batch(node: onnx.NodeProto) -> bool:
    if node.op_type == "Transpose":
        return list(node.attribute[0].ints)[:1] == [0]
    return node.op_type in _KEEPS_BATCH
