"""Everything that is not 8 bits in float16, as strongly typed networks (TensorRT 11, TensorRT-RTX) want it said.

Kept in float32: layer norms, softmax and the masks around it, positions, and whatever decides lengths and masks. Ports
keep their types, so that nobody who runs the encoder notices.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tdt.quantization.half_choice import HalfChoice
from tdt.quantization.half_weights import HalfWeights
from tdt.surgery import FLOAT, FLOAT16

if TYPE_CHECKING:
    from collections.abc import Collection

    import onnx

    from tdt.quantization.half_weights import Place
    from tdt.surgery import EditableGraph

_SMALLEST_SCALE = 6.2e-5  # above float16's subnormal numbers, which lose digits
_OPSET = 19  # the first in which Q/DQ scales may be float16


@dataclass(frozen=True, slots=True)
class HalfReport:
    """What :func:`half_body` did.

    Parameters
    ----------
    nodes : int
        Nodes that compute in float16.
    casts : int
        Casts of activations between the two types.
    weights : HalfWeights
        What became of the weights.
    kept : tuple of str
        Nodes, by output, that stay float32 because float16 cannot hold a weight or a value of theirs.
    """

    nodes: int
    casts: int
    weights: HalfWeights = field(repr=False)
    kept: tuple[str, ...]


def half_body(graph: EditableGraph, *, too_large: Collection[str] = (), place: Place | None = None) -> HalfReport:
    """Cast the body of an encoder, float or Q/DQ, to float16, in place.

    Each edge between the two types gets one Cast, shared by its readers.

    Parameters
    ----------
    graph : EditableGraph
        A prepared encoder.
    too_large : collection of str
        Values that were seen beyond float16's range: the nodes around them stay float32.
    place : callable, optional
        Where converted weights go, see :class:`tdt.quantization.half_weights.HalfWeights`; by default into the graph.

    Raises
    ------
    QuantizationError
        Where a weight is no finite number.
    """
    graph.finish()
    if any(node.op_type == "QuantizeLinear" for node in graph.graph.node):
        _raise_opset(graph)
        _round_scales(graph)
    weights = HalfWeights(graph, place)
    choice = HalfChoice(graph, weights, too_large)
    cut = _Casts(graph, choice.floats, weights)
    for node in list(graph.graph.node):
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            cut.quantisation(node)
        elif choice.is_float(node):
            cut.convert(node, half=choice.is_half(node))
    cut.outputs()
    graph.reindex()
    graph.finish()
    return HalfReport(choice.count, cut.count, weights, choice.kept)


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


class _Casts:
    """Converts nodes one by one, in graph order, and keeps track of the type each value has now."""

    def __init__(self, graph: EditableGraph, floats: set[str], weights: HalfWeights) -> None:
        self.graph = graph
        self.floats = floats
        self.weights = weights
        self.half: set[str] = set()
        self.made: dict[tuple[str, int], str] = {}
        self.count = 0

    def convert(self, node: onnx.NodeProto, *, half: bool) -> None:
        """Give a node inputs of its type, and note that of its outputs."""
        if node.op_type == "Shape":  # takes either
            return
        for index, name in enumerate(node.input):
            if name in self.floats:
                node.input[index] = self._as(name, FLOAT16 if half else FLOAT)
        if half:
            self.half.update(name for name in node.output if name in self.floats)
            if node.op_type == "Cast":
                node.attribute[0].i = FLOAT16

    def quantisation(self, node: onnx.NodeProto) -> None:
        """Give a Q or DQ node scales of the type of the float value beside it."""
        if node.op_type == "QuantizeLinear":
            half = node.input[0] in self.half
        else:
            half = True
            self.half.add(node.output[0])
        if half:
            node.input[1] = self._as(node.input[1], FLOAT16)

    def outputs(self) -> None:
        """Give graph outputs the type they had."""
        for value in self.graph.graph.output:
            if value.name in self.half:
                producer = self.graph.producers[value.name]
                inner = self.graph.fresh(f"{value.name}/half")
                for index, name in enumerate(producer.output):
                    if name == value.name:
                        producer.output[index] = inner
                self.graph.add("Cast", [inner], value.name, outputs=[value.name], to=FLOAT)
                self.count += 1

    def _as(self, name: str, kind: int) -> str:
        now = FLOAT16 if name in self.half else FLOAT
        if now == kind:
            return name
        if (name, kind) not in self.made:
            self.made[name, kind] = self._cast(name, kind)
        return self.made[name, kind]

    def _cast(self, name: str, kind: int) -> str:
        if name in self.graph.initializers:
            return self.weights.convert(name)
        self.count += 1
        return self.graph.add("Cast", [name], f"{name}/cast", to=kind)
