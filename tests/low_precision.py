"""A graph as a device would run it that rounds every floating-point value to a smaller type."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE)
# These hand on values that were rounded already, or make none.
_EXACT = frozenset({"Shape", "ConstantOfShape"})


def rounded(model: onnx.ModelProto, low: int) -> onnx.ModelProto:
    """Return a copy in which each floating-point output of a node is rounded to `low` (a TensorProto type).

    The graph's own outputs keep their names and stay float32.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    inferred = onnx.shape_inference.infer_shapes(copy).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*inferred.value_info, *inferred.output)}
    nodes = []
    for node in copy.graph.node:
        made = onnx.NodeProto()
        made.CopyFrom(node)
        nodes.append(made)
        if node.op_type in _EXACT:
            continue
        for index, name in enumerate(node.output):
            if types.get(name) not in _FLOATS:
                continue
            made.output[index] = f"{name}/exact"
            nodes.append(helper.make_node("Cast", [f"{name}/exact"], [f"{name}/low"], to=low))
            nodes.append(helper.make_node("Cast", [f"{name}/low"], [name], to=TensorProto.FLOAT))
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy
