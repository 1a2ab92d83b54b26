"""Compute at edit time what depends on constants only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.surgery.editing import SMALL_ELEMENTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx

    from tdt.surgery.editing import Array, EditableGraph

# Shape arithmetic only: folding anything that touches a weight would enlarge the file or change its rounding.
_FOLDABLE = frozenset({
    "Add", "Cast", "Concat", "ConstantOfShape", "Div", "Equal", "Expand", "Gather", "Identity", "Mul", "Range",
    "Reshape", "Shape", "Slice", "Squeeze", "Sub", "Transpose", "Unsqueeze", "Where",
})  # fmt: skip


def fold_constants(graph: EditableGraph) -> int:
    """Replace nodes whose inputs are small constants by their value; return how many."""
    folded = 0
    graph.finish()
    for node in list(graph.graph.node):
        if node.op_type in _FOLDABLE and len(node.output) == 1 and _fold(graph, node):
            folded += 1
    graph.finish()
    return folded


def constant_behind(graph: EditableGraph, name: str) -> Array | None:
    """Return the value of what depends on small constants only, else None; the graph stays as it is."""
    value = graph.constant(name)
    node = graph.producers.get(name)
    if value is not None or node is None or node.op_type not in _FOLDABLE or len(node.output) != 1:
        return value
    values = {source: constant_behind(graph, source) for source in node.input if source}
    if not values or any(value is None for value in values.values()):
        return None
    return _evaluated(node, values)


def _evaluated(node: onnx.NodeProto, values: Mapping[str, Any]) -> Array:
    from onnx.reference import ReferenceEvaluator

    outputs: Any = ReferenceEvaluator(node).run(None, dict(values))
    return np.asarray(outputs[0])


def _fold(graph: EditableGraph, node: onnx.NodeProto) -> bool:
    names = [name for name in node.input if name]
    if node.op_type == "Shape":
        shape = graph.shape_of(node.input[0])
        if shape is None or node.attribute:
            return False
        value = np.asarray(shape, np.int64)
    else:
        values = {name: graph.constant(name) for name in names}
        if any(value is None for value in values.values()):
            return False
        value = _evaluated(node, values)
    if value.size > SMALL_ELEMENTS:
        return False
    output = node.output[0]
    if output in graph.output_names:
        return False
    node.output[0] = graph.fresh(f"{output}/folded")
    del graph.producers[output]
    graph.add_constant(output, value, exact_name=True)
    return True


def drop_identities(graph: EditableGraph) -> int:
    """Let readers of an Identity, or of a Cast of boolean to boolean, read its input; return how many were dropped."""
    booleans = _booleans(graph)
    dropped = 0
    for node in list(graph.graph.node):
        if not node.output or node.output[0] in graph.output_names:
            continue
        same = node.op_type == "Identity" or (
            node.op_type == "Cast" and node.attribute[0].i == _BOOL and node.input[0] in booleans
        )
        if same:
            graph.replace_uses(node.output[0], node.input[0])
            dropped += 1
    graph.finish()
    return dropped


_BOOL = 9  # onnx.TensorProto.BOOL
_BOOLEAN_OPS = frozenset({"And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or"})
_KEEPS_TYPE = frozenset({"Expand", "Identity", "Reshape", "Slice", "Squeeze", "Tile", "Transpose", "Unsqueeze"})


def _booleans(graph: EditableGraph) -> set[str]:
    found: set[str] = set()
    for node in graph.graph.node:  # sorted: sources come first
        made = node.op_type in _BOOLEAN_OPS or (node.op_type == "Cast" and node.attribute[0].i == _BOOL)
        if node.op_type == "ConstantOfShape":
            made = any(attribute.t.data_type == _BOOL for attribute in node.attribute)
        if made or (node.op_type in _KEEPS_TYPE and node.input[0] in found):
            found.update(node.output)
    return found
