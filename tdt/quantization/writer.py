"""Write Q/DQ pairs into an encoder: the form that TensorRT, TensorRT-RTX and ONNX Runtime's CPU provider all fuse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tdt.quantization.onnx_graph import EditableGraph
    from tdt.quantization.parts import Linear
    from tdt.quantization.weights import QuantisedWeight


@dataclass(frozen=True, slots=True)
class QuantisedLinear:
    """A linear layer with its 8-bit weights and the scale of its input."""

    linear: Linear
    weight: QuantisedWeight
    input_scale: float


def write_qdq(graph: EditableGraph, layers: Sequence[QuantisedLinear]) -> None:
    """Replace the operands of `layers` by dequantised 8-bit values.

    Activations get QuantizeLinear and DequantizeLinear per tensor with zero point 0, shared by all layers that read the
    tensor; weights are stored as int8 behind one DequantizeLinear per column. Biases, and everything else, stay float.
    """
    dequantised: dict[str, str] = {}
    scales: Mapping[str, float] = {layer.linear.source: layer.input_scale for layer in layers}
    for source, scale in scales.items():
        dequantised[source] = _quantise_activation(graph, source, scale)
    for layer in layers:
        product = graph.producers[layer.linear.node]
        product.input[0] = dequantised[layer.linear.source]
        product.input[1] = _dequantise_weight(graph, layer)
    graph.reindex()
    graph.finish()


def _quantise_activation(graph: EditableGraph, source: str, scale: float) -> str:
    scale_name = graph.add_constant(f"{source}/scale", np.asarray(scale, np.float32))
    zero = graph.add_constant(f"{source}/zero_point", np.asarray(0, np.int8))
    quantised = graph.add("QuantizeLinear", [source, scale_name, zero], f"{source}/quantized")
    return graph.add("DequantizeLinear", [quantised, scale_name, zero], f"{source}/dequantized")


def _dequantise_weight(graph: EditableGraph, layer: QuantisedLinear) -> str:
    stem = f"{layer.linear.name}.weight"
    values = graph.add_constant(f"{stem}/int8", layer.weight.values)
    scales = graph.add_constant(f"{stem}/scale", layer.weight.scales)
    zeros = graph.add_constant(f"{stem}/zero_point", np.zeros(len(layer.weight.scales), np.int8))
    return graph.add("DequantizeLinear", [values, scales, zeros], f"{stem}/dequantized", axis=1)
