"""Which values of a graph are of which type."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tdt.surgery.editing import EditableGraph

FLOAT, FLOAT16 = 1, 10  # onnx.TensorProto types


def values_of_type(graph: EditableGraph, kind: int) -> set[str]:
    """Return the values and initializers of one type, by inference over the whole graph without its weights."""
    import onnx

    bare = onnx.ModelProto()
    bare.opset_import.extend(graph.model.opset_import)
    bare.ir_version = graph.model.ir_version
    bare.graph.node.extend(graph.graph.node)
    bare.graph.input.extend(graph.graph.input)
    bare.graph.output.extend(graph.graph.output)
    for tensor in graph.graph.initializer:
        if graph.constant(tensor.name) is not None and not tensor.external_data:  # shapes depend on these
            bare.graph.initializer.append(tensor)
        else:
            shape = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            bare.graph.input.append(shape)
    inferred = onnx.shape_inference.infer_shapes(bare).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    found = {value.name for value in values if value.type.tensor_type.elem_type == kind}
    return found | {tensor.name for tensor in graph.graph.initializer if tensor.data_type == kind}
