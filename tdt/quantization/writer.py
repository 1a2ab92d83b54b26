"""Write Q/DQ pairs into an encoder: the form that TensorRT, TensorRT-RTX and ONNX Runtime's CPU provider all fuse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tdt.surgery import OFFSET, OFFSET_BIAS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from tdt.quantization.parts import Linear
    from tdt.quantization.thresholds import Grid
    from tdt.quantization.weights import QuantisedWeight
    from tdt.surgery import EditableGraph


@dataclass(frozen=True, slots=True)
class QuantisedLinear:
    """A linear layer with its 8-bit weights and the grid of its input."""

    linear: Linear
    weight: QuantisedWeight
    grid: Grid

    @property
    def offset_bias(self) -> npt.NDArray[np.float32]:
        """What the layer gives for an input that is the grid's offset throughout: ``[N]``, float32."""
        ones = np.full(len(self.weight.values), self.grid.offset * self.grid.scale, np.float32)
        return np.asarray(ones @ self.weight.dequantised(), np.float32)


def write_qdq(graph: EditableGraph, layers: Sequence[QuantisedLinear]) -> None:
    """Replace the operands of `layers` by dequantised 8-bit values.

    Activations get QuantizeLinear and DequantizeLinear per tensor with zero point 0, shared by all layers that read
    the tensor; weights are stored as int8 behind one DequantizeLinear per column. Biases, and everything else, stay
    float. A grid with an offset is written as a subtraction before the pair and a bias after the product, because
    TensorRT takes zero point 0 only; on a CPU both become the zero point again (:mod:`tdt.surgery.cpu_rewrite`).
    """
    dequantised: dict[str, str] = {}
    grids: Mapping[str, Grid] = {layer.linear.source: layer.grid for layer in layers}
    for source, found in grids.items():
        dequantised[source] = _quantise_activation(graph, source, found)
    for layer in layers:
        product = graph.producers[layer.linear.node]
        product.input[0] = dequantised[layer.linear.source]
        product.input[1] = _dequantise_weight(graph, layer)
        if layer.grid.offset:
            _add_offset_bias(graph, layer)
    graph.reindex()
    graph.finish()


def _add_offset_bias(graph: EditableGraph, layer: QuantisedLinear) -> None:
    output = layer.linear.node
    product = graph.producers[output]
    product.output[0] = graph.fresh(f"{output}/centred")
    graph.producers[product.output[0]] = product
    bias = graph.add_constant(f"{layer.linear.name}{OFFSET_BIAS}", layer.offset_bias, exact_name=True)
    graph.add("Add", [product.output[0], bias], output, outputs=[output])


def _quantise_activation(graph: EditableGraph, source: str, found: Grid) -> str:
    if found.offset:
        offset = np.asarray(np.float32(found.scale) * np.float32(found.offset), np.float32)
        constant = graph.add_constant(f"{source}{OFFSET}", offset, exact_name=True)
        source = graph.add("Sub", [source, constant], f"{source}/shifted")
    scale_name = graph.add_constant(f"{source}/scale", np.asarray(found.scale, np.float32))
    zero = graph.add_constant(f"{source}/zero_point", np.asarray(0, np.int8))
    quantised = graph.add("QuantizeLinear", [source, scale_name, zero], f"{source}/quantized")
    return graph.add("DequantizeLinear", [quantised, scale_name, zero], f"{source}/dequantized")


def _dequantise_weight(graph: EditableGraph, layer: QuantisedLinear) -> str:
    stem = f"{layer.linear.name}.weight"
    values = graph.add_constant(f"{stem}/int8", layer.weight.values)
    scales = graph.add_constant(f"{stem}/scale", layer.weight.scales)
    zeros = graph.add_constant(f"{stem}/zero_point", np.zeros(len(layer.weight.scales), np.int8))
    return graph.add("DequantizeLinear", [values, scales, zeros], f"{stem}/dequantized", axis=1)
