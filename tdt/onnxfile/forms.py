"""In which forms a graph holds its weights and rounds activations: bits, blocks, zero points; by its nodes alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Literal

from tdt.onnxfile.graph_parts import DTYPES

if TYPE_CHECKING:
    from tdt.onnxfile.graph import GraphInfo
    from tdt.onnxfile.graph_parts import Node, Tensor

Scaling = Literal["tensor", "channel", "block", "none"]

_BITS = dict(DTYPES.values())
# Operators with integer weights, and the input that holds them.
_INTEGER_WEIGHTS = {
    "ConvInteger": 1,
    "DynamicQuantizeLSTM": 1,
    "DynamicQuantizeMatMul": 1,
    "MatMulInteger": 1,
    "MatMulIntegerToFloat": 1,
    "QLinearConv": 3,
    "QLinearMatMul": 3,
}
_DEFAULT_BITS, _DEFAULT_BLOCK = 4, 128  # of MatMulNBits and GatherBlockQuantized, and of the latter


@dataclass(frozen=True, slots=True)
class WeightForm:
    """One form in which a graph holds numbers, and how many nodes have it.

    Parameters
    ----------
    operator : str
        The operator that reads them: `MatMulNBits`, `GatherBlockQuantized`, `DequantizeLinear`, `QuantizeLinear` (of
        activations), an operator of integer products, or `float16` for floating-point weights of that type.
    count : int
        Nodes, or tensors of floating-point weights.
    bits : int
    scaling : {"tensor", "channel", "block", "none"}
        What has a scale of its own.
    block : int
        Numbers a block; 0 where there are none.
    zero_points : bool
        Whether the file holds zero points.
    accuracy_level : int
        Of MatMulNBits: from 4 on, activations are rounded to 8 bits.
    dtype : str
        Element type as stored.
    """

    operator: str
    count: int
    bits: int
    scaling: Scaling
    block: int
    zero_points: bool
    accuracy_level: int
    dtype: str

    def __str__(self) -> str:
        if self.operator in ("float16", "bfloat16"):
            return f"{self.count} weights in {self.operator}"
        scales = {"tensor": "a scale a tensor", "channel": "a scale a channel", "block": f"blocks of {self.block}"}
        parts = [f"{self.count} {self.operator} of {self.bits} bits"]
        parts += [scales[self.scaling]] if self.scaling in scales else []
        parts += ["zero points"] if self.zero_points else []
        parts += [f"accuracy level {self.accuracy_level}"] if self.accuracy_level else []
        return ", ".join(parts)


def weight_forms(graph: GraphInfo) -> tuple[WeightForm, ...]:
    """Return the forms of a graph other than plain float32, the commonest first."""
    found = Counter(form for node in graph.nodes if (form := _form(graph, node)) is not None)
    for tensor in graph.tensors.values():
        if tensor.dtype in ("float16", "bfloat16") and len(tensor.shape) > 1:
            found[
                WeightForm(tensor.dtype, 0, 16, "none", 0, zero_points=False, accuracy_level=0, dtype=tensor.dtype)
            ] += 1
    return tuple(replace(form, count=count) for form, count in found.most_common())


def _form(graph: GraphInfo, node: Node) -> WeightForm | None:
    """Return the form of a node's weights, its count left at 0; None where it has none."""
    name, ints = node.op_type, node.ints
    zero = _has(node, {"QuantizeLinear": 2, "DequantizeLinear": 2}.get(name, 3))
    if name == "MatMulNBits":
        level = ints.get("accuracy_level", (0,))[0]
        bits, block = ints.get("bits", (_DEFAULT_BITS,))[0], ints.get("block_size", (0,))[0]
        return WeightForm(name, 0, bits, "block", block, zero, level, "uint8")
    if name == "GatherBlockQuantized":
        dtype = _dtype(graph, node, 0)
        bits = ints.get("bits", (_DEFAULT_BITS,))[0] if dtype == "uint8" else _BITS.get(dtype, _DEFAULT_BITS)
        return WeightForm(name, 0, bits, "block", ints.get("block_size", (_DEFAULT_BLOCK,))[0], zero, 0, dtype)
    if name == "QuantizeLinear":
        dtype = _dtype(graph, node, 2) or "uint8"
        return WeightForm(name, 0, _BITS.get(dtype, 0), _scaling(graph, node), 0, zero, 0, dtype)
    if name == "DequantizeLinear":
        stored = _tensor(graph, node, 0)
        if stored is None or len(stored.shape) < 2:
            return None
        block = ints.get("block_size", (0,))[0]
        scaling: Scaling = "block" if block else _scaling(graph, node)
        return WeightForm(name, 0, _BITS.get(stored.dtype, 0), scaling, block, zero, 0, stored.dtype)
    if name in _INTEGER_WEIGHTS:
        dtype = _dtype(graph, node, _INTEGER_WEIGHTS[name])
        return WeightForm(name, 0, 8, "none", 0, zero, 0, dtype)
    return None


def _has(node: Node, index: int) -> bool:
    return len(node.inputs) > index and bool(node.inputs[index])


def _tensor(graph: GraphInfo, node: Node, index: int) -> Tensor | None:
    return graph.tensors.get(node.inputs[index]) if _has(node, index) else None


def _dtype(graph: GraphInfo, node: Node, index: int) -> str:
    tensor = _tensor(graph, node, index)
    return "" if tensor is None else tensor.dtype


def _scaling(graph: GraphInfo, node: Node) -> Scaling:
    scale = _tensor(graph, node, 1)
    return "tensor" if scale is None or prod(scale.shape) == 1 else "channel"
