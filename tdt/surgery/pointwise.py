"""Pointwise convolutions as matrix products.

A Conv1d of kernel 1 over ``[B, C, T]`` is a product over ``[B, T, C]``; written as MatMul it takes the integer
kernels of every provider, and the transposes around it fall away.

A weight that lies outside the file can stay there: its transposition is then a node, which runtimes fold when they load
the graph. A 0.6B encoder has 300 MB of such weights, which would otherwise be copied into the graph at each load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tdt.surgery.editing import SWAP, is_swap

if TYPE_CHECKING:
    import onnx

    from tdt.surgery.editing import EditableGraph


def pointwise_to_matmul(graph: EditableGraph, *, in_place: bool = False) -> int:
    """Rewrite all Conv1d of kernel 1 with constant weights; return how many.

    Parameters
    ----------
    graph : EditableGraph
    in_place : bool
        Leave external weights where they are, and transpose them in the graph.
    """
    rewritten = 0
    for node in list(graph.graph.node):
        if node.op_type == "Conv" and _is_pointwise(graph, node):
            _rewrite(graph, node, in_place)
            rewritten += 1
    graph.finish()
    return rewritten


def _is_pointwise(graph: EditableGraph, node: onnx.NodeProto) -> bool:
    shape = graph.shape_of(node.input[1])
    plain = {attribute.name: attribute for attribute in node.attribute}
    ones = all(set(plain[name].ints) <= {1} for name in ("dilations", "kernel_shape", "strides") if name in plain)
    unpadded = "pads" not in plain or not any(plain["pads"].ints)
    group = plain["group"].i if "group" in plain else 1
    return shape is not None and len(shape) == 3 and shape[2] == 1 and ones and unpadded and group == 1


def _rewrite(graph: EditableGraph, node: onnx.NodeProto, in_place: bool) -> None:
    stem = node.output[0]
    before = graph.producers.get(node.input[0])
    if before is not None and is_swap(before):
        source = before.input[0]
    else:
        source = graph.add("Transpose", [node.input[0]], f"{stem}/in", perm=SWAP)
    name = _transposed(graph, node.input[1], in_place)
    product = graph.add("MatMul", [source, name], f"{stem}/matmul")
    if len(node.input) > 2 and node.input[2]:
        product = graph.add("Add", [product, node.input[2]], f"{stem}/biased")
    _connect(graph, node, product)


def _transposed(graph: EditableGraph, name: str, in_place: bool) -> str:
    """Return the [I, O] matrix of the [O, I, 1] weight `name`."""
    if in_place and graph.is_external(name):
        shape = graph.add_constant(f"{name}.shape", np.asarray([0, 0], np.int64))
        return graph.add(
            "Transpose", [graph.add("Reshape", [name, shape], f"{name}.matrix")], f"{name}.turned", perm=[1, 0]
        )
    return graph.add_constant(f"{name}.transposed", np.ascontiguousarray(graph.weight(name)[:, :, 0].T))


def _connect(graph: EditableGraph, node: onnx.NodeProto, product: str) -> None:
    old = node.output[0]
    readers = list(graph.consumers.get(old, []))
    if len(readers) == 1 and old not in graph.output_names and _move_past_gate(graph, readers[0], product):
        return
    for reader in readers:
        if is_swap(reader) and reader.output[0] not in graph.output_names:
            graph.replace_uses(reader.output[0], product)
    remaining = [reader for reader in readers if not is_swap(reader) or reader.output[0] in graph.output_names]
    if remaining or old in graph.output_names:
        node.output[0] = graph.fresh(f"{old}/replaced")
        graph.add("Transpose", [product], old, outputs=[old], perm=SWAP)


def _move_past_gate(graph: EditableGraph, split: onnx.NodeProto, product: str) -> bool:
    """Split and gate (GLU) along the last axis, and transpose the gated half only."""
    axis = next((attribute for attribute in split.attribute if attribute.name == "axis"), None)
    if split.op_type != "Split" or axis is None or axis.i != 1 or len(split.output) != 2:
        return False
    value, gate = split.output
    sigmoids, muls = graph.consumers.get(gate, []), graph.consumers.get(value, [])
    if len(sigmoids) != 1 or len(muls) != 1 or sigmoids[0].op_type != "Sigmoid" or muls[0].op_type != "Mul":
        return False
    gated = muls[0].output[0]
    if sigmoids[0].output[0] not in muls[0].input or gated in graph.output_names:
        return False
    split.input[0] = product
    axis.i = 2
    transposed = graph.add("Transpose", [gated], f"{gated}/out", perm=SWAP)
    readers = [reader for reader in graph.consumers[gated] if reader.output[0] != transposed]
    graph.replace_uses(gated, transposed, only=readers)
    return True
