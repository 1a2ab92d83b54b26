"""Everything that is not 8 bits in float16, as strongly typed networks (TensorRT 11, TensorRT-RTX) want it said.

Kept in float32: layer norms, softmax and the masks around it, the features as they come in, positions, and all
lengths. Ports keep their types, so that nobody who runs the encoder notices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

    from tdt.surgery import EditableGraph

_FLOAT, _FLOAT16 = 1, 10
_SMALLEST_SCALE = 6.2e-5  # above float16's subnormal numbers, which lose digits
_OPSET = 19  # the first in which Q/DQ scales may be float16

_FULL_PRECISION = frozenset({"LayerNormalization", "Softmax", "Range", "Sin", "Cos"})
# Computed in float16: products, convolutions, and what lies between them.
_HALF = frozenset({
    "Add", "Concat", "Conv", "Div", "Expand", "MatMul", "Mul", "Pad", "Relu", "Reshape", "Sigmoid", "Slice", "Split",
    "Squeeze", "Sub", "Transpose", "Unsqueeze",
})  # fmt: skip


def half_body(graph: EditableGraph) -> int:
    """Cast the body of a Q/DQ encoder to float16, in place; returns the number of nodes that compute in it.

    Each edge between the two types gets one Cast, shared by its readers.
    """
    graph.finish()
    _raise_opset(graph)
    _round_scales(graph)
    types = _float_values(graph)
    cut = _Casts(graph, types)
    count = 0
    for node in list(graph.graph.node):
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            cut.quantisation(node)
        elif any(name in types for name in (*node.input, *node.output)):
            halved = node.op_type in _HALF and not _is_attention_mask(graph, node) and not cut.is_position(node)
            cut.convert(node, half=halved)
            count += halved
    cut.outputs()
    graph.reindex()
    graph.finish()
    return count


def _raise_opset(graph: EditableGraph) -> None:
    """Move to opset 19: for the operators of an encoder only Split changed in a way that shows."""
    for entry in graph.model.opset_import:
        if entry.domain in ("", "ai.onnx") and entry.version < _OPSET:
            entry.version = _OPSET
    graph.model.ir_version = max(graph.model.ir_version, 9)
    from onnx import helper

    for node in graph.graph.node:
        if node.op_type == "Split" and len(node.input) < 2 and not any(a.name == "num_outputs" for a in node.attribute):
            node.attribute.append(helper.make_attribute("num_outputs", len(node.output)))


def _round_scales(graph: EditableGraph) -> None:
    """Round scales to float16 first, so that a Q in float32 and its DQ in float16 use the same one."""
    names = {node.input[1] for node in graph.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")}
    for name in names:
        scale = np.clip(graph.weight(name), _SMALLEST_SCALE, 65504.0).astype(np.float16)
        graph.add_constant(name, scale.astype(np.float32), exact_name=True)


def _is_attention_mask(graph: EditableGraph, node: onnx.NodeProto) -> bool:
    """Whether a node lies between the scores and the softmax: scaled scores stay float32 up to the probabilities."""
    readers = graph.consumers.get(node.output[0], [])
    return node.op_type == "Div" and any(reader.op_type == "Where" for reader in readers)


def _float_values(graph: EditableGraph) -> set[str]:
    """Return the values of float32 type, by inference over the whole graph."""
    import onnx

    bare = onnx.ModelProto()
    bare.CopyFrom(graph.model)
    inferred = onnx.shape_inference.infer_shapes(bare)
    found = {v.name for v in (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
             if v.type.tensor_type.elem_type == _FLOAT}  # fmt: skip
    return found | {tensor.name for tensor in graph.graph.initializer if tensor.data_type == _FLOAT}


class _Casts:
    """Converts nodes one by one, in graph order, and keeps track of the type each value has now."""

    def __init__(self, graph: EditableGraph, floats: set[str]) -> None:
        self.graph = graph
        self.floats = floats
        self.half: set[str] = set()
        self.made: dict[tuple[str, int], str] = {}
        self.positions: set[str] = set()

    def is_position(self, node: onnx.NodeProto) -> bool:
        """Whether a node builds the rows of the position table, which float16 cannot hold exactly."""
        mine = any(name.startswith("position/") for name in node.output)
        return mine and node.op_type != "MatMul"

    def convert(self, node: onnx.NodeProto, *, half: bool) -> None:
        for index, name in enumerate(node.input):
            if name in self.floats:
                node.input[index] = self._as(name, _FLOAT16 if half else _FLOAT)
        if half:
            self.half.update(name for name in node.output if name in self.floats)

    def quantisation(self, node: onnx.NodeProto) -> None:
        """Give a Q or DQ node scales of the type of the float value beside it."""
        if node.op_type == "QuantizeLinear":
            half = node.input[0] in self.half
        else:
            half = True
            self.half.add(node.output[0])
        if half:
            node.input[1] = self._as(node.input[1], _FLOAT16)

    def outputs(self) -> None:
        """Give graph outputs the type they had."""
        for value in self.graph.graph.output:
            if value.name in self.half:
                producer = self.graph.producers[value.name]
                inner = self.graph.fresh(f"{value.name}/half")
                for index, name in enumerate(producer.output):
                    if name == value.name:
                        producer.output[index] = inner
                self.graph.add("Cast", [inner], value.name, outputs=[value.name], to=_FLOAT)

    def _as(self, name: str, kind: int) -> str:
        now = _FLOAT16 if name in self.half else _FLOAT
        if now == kind:
            return name
        if (name, kind) not in self.made:
            self.made[name, kind] = self._cast(name, kind)
        return self.made[name, kind]

    def _cast(self, name: str, kind: int) -> str:
        if name in self.graph.initializers:
            value = np.clip(self.graph.weight(name), -65504.0, 65504.0).astype(np.float16)
            return self.graph.add_constant(f"{name}/half", value)
        return self.graph.add("Cast", [name], f"{name}/cast", to=kind)
