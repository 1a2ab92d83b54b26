"""Turn dynamically quantised products into float products of the same 8-bit weights.

`quantize_dynamic` scales activations by the extremes of the whole tensor, so that an utterance's result depends on what
else is in its batch, and on how many frames are projected at once. With the weights multiplied out (exactly: level
times scale) rows stay apart, the activations lose nothing, and the weights are the file's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import onnx

    Array = npt.NDArray[np.float32]


def dequantize_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace MatMulInteger chains and DynamicQuantizeLSTM by MatMul and LSTM, in place; other nodes stay.

    Parameters
    ----------
    model : onnx.ModelProto

    Returns
    -------
    onnx.ModelProto
        The same object.
    """
    graph = model.graph
    replaced: list[onnx.NodeProto] = []
    rewriter = _Rewriter(model)
    for node in graph.node:
        if node.op_type == "DynamicQuantizeLSTM":
            replaced.append(rewriter.lstm(node))
        elif node.op_type == "Mul" and (product := rewriter.product(node)) is not None:
            replaced.append(product)
        else:
            replaced.append(node)
    del graph.node[:]
    graph.node.extend(_needed(replaced, {port.name for port in graph.output}))
    graph.initializer.extend(rewriter.made.values())
    del graph.value_info[:]
    return model


def _needed(nodes: list[onnx.NodeProto], outputs: set[str]) -> list[onnx.NodeProto]:
    wanted = set(outputs)
    kept = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node.input)
    return kept[::-1]


class _Rewriter:
    """Recognises one chain at a time and holds the weights made for the new nodes.

    Parameters
    ----------
    model : onnx.ModelProto
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self.producers = {name: node for node in model.graph.node for name in node.output}
        self.made: dict[str, onnx.TensorProto] = {}

    def product(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        """Return the float product for Mul(Cast(MatMulInteger(x, w)), scale_x * scale_w), if `node` is that Mul."""
        from onnx import helper

        for product, scales in (tuple(node.input), tuple(node.input)[::-1]):
            cast, scale = self.producers.get(product), self.producers.get(scales)
            if cast is None or scale is None or cast.op_type != "Cast" or scale.op_type != "Mul":
                continue
            integer = self.producers.get(cast.input[0])
            if integer is None or integer.op_type != "MatMulInteger" or integer.input[1] not in self.weights:
                continue
            quantizer = self.producers.get(integer.input[0])
            weight_scales = [name for name in scale.input if name in self.weights]
            if quantizer is None or quantizer.op_type != "DynamicQuantizeLinear" or len(weight_scales) != 1:
                continue
            zero = integer.input[3] if len(integer.input) > 3 else ""
            weight = self._floats(integer.input[1], weight_scales[0], zero)
            return helper.make_node("MatMul", [quantizer.input[0], weight], list(node.output))
        return None

    def lstm(self, node: onnx.NodeProto) -> onnx.NodeProto:
        """Return the float LSTM of a DynamicQuantizeLSTM; its weights are [1, K, 4 H], those of LSTM [1, 4 H, K]."""
        from onnx import helper

        names = [*node.input, *[""] * (12 - len(node.input))]
        inputs = self._floats(names[1], names[8], names[9], transpose=True)
        recurrent = self._floats(names[2], names[10], names[11], transpose=True)
        new = helper.make_node("LSTM", [names[0], inputs, recurrent, *names[3:8]], list(node.output))
        new.attribute.extend(node.attribute)
        return new

    def _floats(self, levels: str, scale: str, zero: str, *, transpose: bool = False) -> str:
        """Multiply weights out and return the new tensor's name."""
        import numpy as np
        from onnx import numpy_helper

        name = f"{levels}/floats"
        if name not in self.made:
            floats = numpy_helper.to_array(self.weights[levels]).astype(np.float32)
            if zero:
                floats = floats - self._row(zero)
            floats = floats * self._row(scale)
            self.made[name] = numpy_helper.from_array(
                np.ascontiguousarray(floats.swapaxes(-1, -2) if transpose else floats), name
            )
        return name

    def _row(self, name: str) -> Array:
        """Return numbers, one a tensor or one a column, so that they broadcast along the last axis."""
        import numpy as np
        from onnx import numpy_helper

        return numpy_helper.to_array(self.weights[name]).astype(np.float32).reshape(-1)
