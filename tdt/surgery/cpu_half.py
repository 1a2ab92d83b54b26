"""A float16 encoder on a CPU: float32 arithmetic, every result rounded to float16 as a card rounds it.

ONNX Runtime's CPU provider has next to no float16 kernels on x86. It runs such nodes in float32 and drops the casts
between neighbours, so that only the weights are rounded and the file looks more exact than it is on a card. With the
rounding written out, the CPU tells what float16 costs; sums inside an operator stay float32, as cuBLAS and cuDNN have
them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.surgery.value_types import FLOAT, FLOAT16, values_of_type

if TYPE_CHECKING:
    import onnx

    from tdt.surgery.editing import EditableGraph

# Handing values on as they are: what comes in rounded goes out rounded.
MOVES = frozenset({
    "Concat", "Expand", "Gather", "Identity", "Pad", "Relu", "Reshape", "Slice", "Split", "Squeeze", "Tile",
    "Transpose", "Unsqueeze", "Where",
})  # fmt: skip


def round_like_a_card(graph: EditableGraph) -> int:
    """Rewrite a float16 graph in float32 with the rounding written out, in place; return how many results are rounded.

    Returns 0, and changes nothing, where a node holds float16 numbers in an attribute or a graph of its own.
    """
    if any(map(_is_opaque, graph.graph.node)):
        return 0
    half, nodes = values_of_type(graph, FLOAT16), list(graph.graph.node)
    for name in half.intersection(graph.initializers):
        readers = list(graph.consumers.get(name, []))
        graph.replace_uses(name, graph.add("Cast", [name], f"{name}/float", to=FLOAT), only=readers)
    rounded = 0
    for node in nodes:
        if node.op_type == "Cast" and node.input[0] in half:
            _pass_on(graph, node)
        elif half.intersection(node.output) and node.op_type not in MOVES:
            rounded += sum(_round(graph, node, index) for index, name in enumerate(node.output) if name in half)
    graph.reindex()
    graph.finish()
    return rounded


def _is_opaque(node: onnx.NodeProto) -> bool:
    return any(item.HasField("g") or item.t.data_type == FLOAT16 for item in node.attribute)


def _pass_on(graph: EditableGraph, node: onnx.NodeProto) -> None:
    """Let a cast from float16 be one from float32: none where it went there."""
    if node.attribute[0].i == FLOAT:
        node.op_type = "Identity"
        del node.attribute[:]
        if node.output[0] not in graph.output_names:
            graph.replace_uses(node.output[0], node.input[0])


def _round(graph: EditableGraph, node: onnx.NodeProto, index: int) -> int:
    """Put a result through float16; it keeps its name."""
    name = node.output[index]
    exact = graph.fresh(f"{name}/exact")
    node.name = f"{exact}/{node.op_type}"  # the cast that makes `name` may be called like it
    if node.op_type == "Cast":
        half, node.output[index] = exact, exact
    else:
        node.output[index] = exact
        half = graph.add("Cast", [exact], f"{name}/rounded", to=FLOAT16)
    graph.add("Cast", [half], name, outputs=[name], to=FLOAT)
    return 1
