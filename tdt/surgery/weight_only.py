"""Turn dynamically quantised products into float products of the same 8-bit weights.

`quantize_dynamic` scales activations by the extremes of the whole tensor, so that an utterance's result depends on what
else is in its batch, and on how many frames are projected at once. With the weights multiplied out (exactly: level
times scale) rows stay apart, the activations lose nothing, and the weights are the file's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tdt.onnxfile import StructureError, Walker

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
    rewriter = _Rewriter(Walker(model, Path("a decoder")))
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
    """Turns one node at a time and holds the weights made for the new ones.

    Parameters
    ----------
    graph : Walker
        Over the model, as it was.
    """

    def __init__(self, graph: Walker) -> None:
        self.graph = graph
        self.made: dict[str, onnx.TensorProto] = {}

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
