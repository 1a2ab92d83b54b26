"""A float16 graph in float32: the same numbers, wider, so that what works on float32 graphs works on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.surgery.value_types import FLOAT, FLOAT16, values_of_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import numpy.typing as npt
    import onnx

    from tdt.surgery.editing import EditableGraph

    Place = Callable[[str, npt.NDArray[Any]], onnx.TensorProto]

BFLOAT16 = 16  # onnx.TensorProto.BFLOAT16
NARROW = frozenset({FLOAT16, BFLOAT16})
# Attributes that name an element type: of Cast, of random and empty values, of Q/DQ, of layer norms.
_TYPE_ATTRIBUTES = frozenset({"to", "dtype", "output_dtype", "stash_type"})


def widen(graph: EditableGraph, place: Place | None = None) -> int:
    """Turn a graph in float16 or bfloat16 into float32, in place; return how many tensors were widened.

    Every number of the narrow types is one of float32, so weights stay exactly what they are. What is computed is no
    longer rounded between nodes.

    Parameters
    ----------
    graph : EditableGraph
    place : callable, optional
        Takes a name and an array, and returns the tensor that takes its place: where large weights go. Every weight is
        offered, external ones among them, which are in the graph's folder no longer.

    Notes
    -----
    The ports of a model are float32 in either case; casts beside them have nothing to do any more and are dropped.
    """
    widened = 0
    for name, tensor in list(graph.initializers.items()):
        narrow = tensor.data_type in NARROW
        if narrow or place is not None:
            graph.add_tensor(_wider(graph, name, place))
        widened += narrow
    widened += widen_nodes(graph.graph.node)
    for value in (*graph.graph.input, *graph.graph.output):
        _widen_port(value)
    del graph.graph.value_info[:]
    graph.reindex()
    _drop_casts(graph)
    return widened


def widen_nodes(nodes: Iterable[onnx.NodeProto]) -> int:
    """Widen what nodes, and graphs within them, hold and name of narrow types, in place; return how many tensors."""
    return sum(map(_widen_attributes, nodes))


def _wider(graph: EditableGraph, name: str, place: Place | None) -> onnx.TensorProto:
    from onnx import numpy_helper

    values = graph.weight(name)
    if graph.initializers[name].data_type in NARROW:
        values = values.astype(np.float32)
    return numpy_helper.from_array(values, name) if place is None else place(name, values)


def _widen_attributes(node: onnx.NodeProto) -> int:
    """Widen the tensors that a node, and graphs within it, hold, and the types that they name."""
    from onnx import numpy_helper

    widened = 0
    for attribute in node.attribute:
        if attribute.name in _TYPE_ATTRIBUTES and attribute.i in NARROW:
            attribute.i = FLOAT
        for tensor in _tensors(attribute):
            if tensor.data_type in NARROW:
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
                widened += 1
        for inner in (*attribute.graphs, *((attribute.g,) if attribute.HasField("g") else ())):
            widened += sum(map(_widen_attributes, inner.node))
            for value in (*inner.input, *inner.output, *inner.value_info):
                _widen_port(value)
    return widened


def _tensors(attribute: onnx.AttributeProto) -> Iterator[onnx.TensorProto]:
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    for inner in (*attribute.graphs, *((attribute.g,) if attribute.HasField("g") else ())):
        yield from inner.initializer


def _widen_port(value: onnx.ValueInfoProto) -> None:
    kind = value.type.tensor_type
    if kind.elem_type in NARROW:
        kind.elem_type = FLOAT


def _drop_casts(graph: EditableGraph) -> None:
    """Let casts from float32 to float32 be identities, which nobody reads."""
    floats = values_of_type(graph, FLOAT)
    for node in graph.graph.node:
        if node.op_type == "Cast" and node.attribute[0].i == FLOAT and node.input[0] in floats:
            node.op_type = "Identity"
            del node.attribute[:]
    for node in list(graph.graph.node):
        if node.op_type == "Identity" and node.output[0] not in graph.output_names:
            graph.replace_uses(node.output[0], node.input[0])
    graph.finish()
