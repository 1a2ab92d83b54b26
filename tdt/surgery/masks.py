"""Let masks broadcast instead of being written out, and apply each once.

The subsampling of an export multiplies by a mask that is first expanded to the size of the activations (tens of
megabytes for ten seconds), and multiplies again after the ReLU, which keeps zeros zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.surgery.editing import is_swap

if TYPE_CHECKING:
    import onnx

    from tdt.surgery.editing import EditableGraph

_SHAPE_ARITHMETIC = frozenset({
    "Cast", "Concat", "ConstantOfShape", "Equal", "Expand", "Gather", "Mul", "Reshape", "Shape", "Slice", "Squeeze",
    "Unsqueeze", "Where",
})  # fmt: skip
_KEEPS_ZERO = frozenset({"Relu"})


def broadcast_masks(graph: EditableGraph) -> int:
    """Drop Expand nodes whose result only meets the tensor whose shape they copy; return how many."""
    dropped = 0
    for node in list(graph.graph.node):
        if node.op_type != "Expand" or node.output[0] in graph.output_names:
            continue
        readers = graph.consumers.get(node.output[0], [])
        if readers and all(
            reader.op_type == "Mul" and _shape_sources(graph, node.input[1]) == {_other(reader, node.output[0])}
            for reader in readers
        ):
            graph.replace_uses(node.output[0], node.input[0])
            dropped += 1
    graph.finish()
    return dropped


def single_masks(graph: EditableGraph) -> int:
    """Drop a multiplication by a 0/1 mask that was applied just before; return how many."""
    dropped = 0
    for node in list(graph.graph.node):
        if node.op_type != "Mul" or node.output[0] in graph.output_names:
            continue
        for value, mask in (tuple(node.input), tuple(reversed(node.input))):
            before = graph.producers.get(value)
            while before is not None and before.op_type in _KEEPS_ZERO:
                before = graph.producers.get(before.input[0])
            if before is not None and before.op_type == "Mul" and mask in before.input and _is_mask(graph, mask):
                graph.replace_uses(node.output[0], value)
                dropped += 1
                break
    graph.finish()
    return dropped


def broadcast_pairs(graph: EditableGraph) -> int:
    """Drop the Tile below which a mask of frames meets its own transposition; return how many.

    The export writes [B, 1, T] out to [B, T, T] to combine "this frame counts" with "that frame counts": And broadcasts
    as well. CUDA has no Tile for truth values: the one node went through the host, which made every run wait in its
    middle, and kept ONNX Runtime from capturing the encoder.
    """
    dropped = 0
    for node in list(graph.graph.node):
        if node.op_type != "Tile" or node.output[0] in graph.output_names:
            continue
        readers = graph.consumers.get(node.output[0], [])
        turned = [reader for reader in readers if is_swap(reader)]
        meeting = [reader for reader in readers if reader.op_type == "And"]
        if len(readers) != 2 or len(turned) != 1 or len(meeting) != 1 or not _is_row(graph, node.input[0]):
            continue
        if graph.consumers.get(turned[0].output[0], []) == meeting:
            graph.replace_uses(node.output[0], node.input[0])
            dropped += 1
    graph.finish()
    return dropped


def _is_row(graph: EditableGraph, name: str) -> bool:
    """Whether `name` is [B, 1, T] by construction: axis 1 was just put in."""
    node = graph.producers.get(name)
    if node is not None and node.op_type == "Expand" and _is_ones(graph, node.input[1]):
        node = graph.producers.get(node.input[0])
    if node is None or node.op_type != "Unsqueeze":
        return False
    axes = graph.constant(node.input[1]) if len(node.input) > 1 else next(a.ints for a in node.attribute)
    return axes is not None and list(axes) == [1]


def _is_ones(graph: EditableGraph, name: str) -> bool:
    """Whether a shape that a tensor is expanded to changes nothing: all ones."""
    value = graph.constant(name)
    if value is not None:
        return bool((value == 1).all())
    node = graph.producers.get(name)
    if node is None or node.op_type != "ConstantOfShape":
        return False
    from onnx import numpy_helper

    return any(a.name == "value" and bool((numpy_helper.to_array(a.t) == 1).all()) for a in node.attribute)


def _other(node: onnx.NodeProto, name: str) -> str:
    return str(node.input[1] if node.input[0] == name else node.input[0])


def _is_mask(graph: EditableGraph, name: str) -> bool:
    """Whether `name` holds zeros and ones: a cast of a comparison, reshaped."""
    for _ in range(8):
        node = graph.producers.get(name)
        if node is None:
            return False
        if node.op_type in ("And", "Less", "Not"):
            return True
        if node.op_type not in ("Cast", "Expand", "Unsqueeze"):
            return False
        name = node.input[0]
    return False


def _shape_sources(graph: EditableGraph, name: str) -> set[str]:
    """Tensors whose shape the shape arithmetic ending in `name` reads."""
    sources: set[str] = set()
    stack, seen = [name], {name}
    while stack:
        node = graph.producers.get(stack.pop())
        if node is None:
            continue
        if node.op_type not in _SHAPE_ARITHMETIC:
            return {""}
        if node.op_type == "Shape" and _reads_activation(graph, node.input[0]):
            sources.add(node.input[0])
            continue
        fresh = [value for value in node.input if value and value not in seen]
        seen.update(fresh)
        stack.extend(fresh)
    return sources


def _reads_activation(graph: EditableGraph, name: str) -> bool:
    node = graph.producers.get(name)
    return node is None or node.op_type not in _SHAPE_ARITHMETIC
