"""Which products of a parsed network run in which numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

# Layers that hand on their first input's values; a weight or an activation is looked up through them.
_THROUGH = frozenset({"SHUFFLE", "CAST", "IDENTITY", "SQUEEZE", "UNSQUEEZE"})
_PRECISIONS = {"INT8": "int8", "HALF": "float16", "BF16": "bfloat16", "FLOAT": "float32"}


@dataclass(frozen=True, slots=True)
class LayerCount:
    """Products by kind and by the numbers they are computed in.

    Parameters
    ----------
    linear : dict of str to int
        Products with a constant matrix.
    attention : dict of str to int
        Products of two activations.
    convolution : dict of str to int
        Convolutions.
    """

    linear: dict[str, int]
    attention: dict[str, int]
    convolution: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def count_layers(network: Any) -> LayerCount:
    """Count the products of a parsed (strongly typed) network.

    A product is int8 where both operands are dequantised from int8: the form that TensorRT fuses into an integer
    kernel.
    """
    makers = {tensor.name: layer for layer in _layers(network) for tensor in _outputs(layer)}
    count = LayerCount({}, {}, {})
    for layer in _layers(network):
        kind = _kind(layer)
        if kind not in ("MATRIX_MULTIPLY", "CONVOLUTION"):
            continue
        operands = [_source(layer.get_input(index), makers) for index in range(min(layer.num_inputs, 2))]
        int8 = len(operands) == 2 and all(precision == "int8" for precision, _ in operands)
        precision = "int8" if int8 else _PRECISIONS.get(_dtype(layer.get_output(0)), "other")
        constant = any(is_constant for _, is_constant in operands)
        table = count.convolution if kind == "CONVOLUTION" else count.linear if constant else count.attention
        table[precision] = table.get(precision, 0) + 1
    return count


def _layers(network: Any) -> Iterator[Any]:
    for index in range(network.num_layers):
        yield network.get_layer(index)


def _outputs(layer: Any) -> Iterator[Any]:
    for index in range(layer.num_outputs):
        yield layer.get_output(index)


def _kind(layer: Any) -> str:
    return str(layer.type).rpartition(".")[2]


def _dtype(tensor: Any) -> str:
    return str(tensor.dtype).rpartition(".")[2]


def _source(tensor: Any, makers: dict[str, Any]) -> tuple[str, bool]:
    """Return what an operand is stored as, and whether it is a constant."""
    precision = ""
    layer = makers.get(tensor.name)
    for _ in range(16):
        if layer is None:
            break
        if _kind(layer) == "DEQUANTIZE" and not precision:
            precision = _PRECISIONS.get(_dtype(layer.get_input(0)), "")
        elif _kind(layer) not in _THROUGH:
            break
        layer = makers.get(layer.get_input(0).name)
    return precision or _PRECISIONS.get(_dtype(tensor), "other"), layer is not None and _kind(layer) == "CONSTANT"
