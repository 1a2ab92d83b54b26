"""Turn a decoder's weights into float32 ones of the same values, so that its graph is computed as it is defined.

`quantize_dynamic` scales activations by the extremes of the whole tensor, so that an utterance's result depends on what
else is in its batch, and on how many frames are projected at once. With the weights multiplied out (exactly: level
times scale) rows stay apart, the activations lose nothing, and the weights are the file's own.

Constants behind DequantizeLinear are multiplied out because ONNX Runtime would fuse them with their products: of 4-bit
blocks it makes MatMulNBits of accuracy level 4, which rounds activations to 8 bits though nothing in the file says so;
of Q/DQ pairs integer products, which on processors without VNNI saturate 16-bit sums. Pairs around activations stay.
Float16 weights become float32, as the CPU provider computes them anyway; so do the values between.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tdt.onnxfile import StructureError, Walker
from tdt.surgery.editing import EditableGraph
from tdt.surgery.widening import NARROW, widen_nodes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import onnx

    Array = npt.NDArray[np.float32]


def dequantize_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace MatMulInteger chains, DynamicQuantizeLSTM, constants behind DequantizeLinear, and float16, in place.

    Parameters
    ----------
    model : onnx.ModelProto

    Returns
    -------
    onnx.ModelProto
        The same object.
    """
    graph = model.graph
    _widen(model)
    replaced: list[onnx.NodeProto] = []
    rewriter = _Rewriter(Walker(model, Path("a decoder")))
    for node in graph.node:
        if node.op_type == "DynamicQuantizeLSTM":
            replaced.append(rewriter.lstm(node))
        elif node.op_type == "DequantizeLinear" and rewriter.constant(node):
            continue
        elif node.op_type == "Mul" and (product := rewriter.product(node)) is not None:
            replaced.append(product)
        else:
            replaced.append(node)
    del graph.node[:]
    graph.node.extend(replaced)
    graph.initializer.extend(rewriter.made.values())
    EditableGraph(model).finish()  # some converters leave nodes unsorted
    return model


def _widen(model: onnx.ModelProto) -> None:
    """Make a graph's float16 weights and values float32; its ports are float32 already."""
    from onnx import numpy_helper

    for tensor in model.graph.initializer:
        if tensor.data_type in NARROW:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype("float32"), tensor.name))
    widen_nodes(model.graph.node)


class _Rewriter:
    """Turns one node at a time and holds the weights made for the new ones.

    Parameters
    ----------
    graph : Walker
        Over the model, as it was.
    """

    def __init__(self, graph: Walker) -> None:
        self.graph = graph
        self.made: dict[str, onnx.TensorProto] = {}

    def constant(self, node: onnx.NodeProto) -> bool:
        """Keep what a DequantizeLinear makes of constants, under the name it gives it; say whether they are."""
        from onnx import numpy_helper

        name = node.output[0]
        values = self.graph.constant(name)
        if values is not None:
            self.made[name] = numpy_helper.from_array(values, name)
        return values is not None

    def product(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        """Return the float product for Mul(Cast(MatMulInteger(x, w)), scale_x * scale_w), if `node` is that Mul."""
        from onnx import helper

        try:
            matrix, source, name = self.graph.integer_product(node)
        except StructureError:
            return None
        return helper.make_node("MatMul", [source, self._keep(name, matrix.values.T)], list(node.output))

    def lstm(self, node: onnx.NodeProto) -> onnx.NodeProto:
        """Return the float LSTM of a DynamicQuantizeLSTM."""
        from onnx import helper

        names = [*node.input, *[""] * (12 - len(node.input))]
        matrices = zip(names[1:3], self.graph.lstm_weights(node), strict=True)
        weights = [self._keep(name, matrix.values[None]) for name, matrix in matrices]
        new = helper.make_node("LSTM", [names[0], *weights, *names[3:8]], list(node.output))
        new.attribute.extend(node.attribute)
        return new

    def _keep(self, levels: str, values: Array) -> str:
        """Make a tensor of weights multiplied out and return its name."""
        import numpy as np
        from onnx import numpy_helper

        name = f"{levels}/floats"
        self.made[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name
