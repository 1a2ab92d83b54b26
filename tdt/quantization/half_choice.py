"""Which nodes of an encoder compute in float16."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.surgery import FLOAT, values_of_type

if TYPE_CHECKING:
    from collections.abc import Collection

    import onnx

    from tdt.quantization.half_weights import HalfWeights
    from tdt.surgery import EditableGraph

# Handing values on as they are.
_MOVES = frozenset({
    "Concat", "Expand", "Pad", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze", "Where",
})  # fmt: skip
# Computed in float16: products, convolutions, and what lies between them. All that is not named stays float32, above
# all LayerNormalization and Softmax.
_COMPUTES = frozenset({"Add", "Conv", "Div", "MatMul", "Mul", "Relu", "Sigmoid", "Sub"})
# The subsampling's convolutions over time and mel bands stay float32, and what lies between them: one hundredth of the
# arithmetic. In float16 cuDNN compiles a kernel for each at every change of shape; on an H100 a run after another shape
# took 375 ms in place of 21 (cuDNN 9.19).
_ON_GRID = frozenset({"Mul", "Relu"})
# Steps of a layer norm that was exported as its arithmetic: its neighbours belong to it.
_NORM_STEPS = frozenset({"Pow", "ReduceMean", "Sqrt"})


class HalfChoice:
    """Sorts the nodes of a prepared encoder into float16 and float32.

    Parameters
    ----------
    graph : EditableGraph
        In order, see :meth:`EditableGraph.finish`.
    weights : HalfWeights
        Says which constants float16 can hold.
    too_large : collection of str
        Values that were seen beyond float16's range.
    """

    def __init__(self, graph: EditableGraph, weights: HalfWeights, too_large: Collection[str] = ()) -> None:
        self.graph = graph
        self.floats = values_of_type(graph, FLOAT)
        self._weights = weights
        self._too_large = frozenset(too_large)
        self._exact = self._deciding()
        self._grid = self._subsampling()
        kept: list[str] = []
        self._half: set[str] = set()
        for node in graph.graph.node:
            if self.is_float(node) and self._may_be_half(node):
                if self._fits(node):
                    self._half.add(node.output[0])
                else:
                    kept.append(node.output[0])
        self.kept = tuple(kept)
        for node in reversed(list(graph.graph.node)):
            self._follow_readers(node)
        self.count = len(self._half)

    def is_float(self, node: onnx.NodeProto) -> bool:
        """Return whether a node takes or gives float32 as the graph stands."""
        return any(name in self.floats for name in (*node.input, *node.output))

    def is_half(self, node: onnx.NodeProto) -> bool:
        """Return whether a node is to compute in float16."""
        return node.output[0] in self._half

    def _may_be_half(self, node: onnx.NodeProto) -> bool:
        if node.op_type not in _COMPUTES and node.op_type not in _MOVES:
            return False
        special = self._is_near_softmax(node) or self._is_position(node) or self._is_norm_step(node)
        return not special and self._exact.isdisjoint(node.output) and self._grid.isdisjoint(node.output)

    def _subsampling(self) -> set[str]:
        """Return what two-dimensional convolutions take and give, with or without mask and ReLU."""
        found: set[str] = set()
        for node in self.graph.graph.node:
            planar = node.op_type == "Conv" and len(self.graph.shape_of(node.input[1]) or ()) == 4
            if planar or (node.op_type in _ON_GRID and not found.isdisjoint(node.input)):
                found.update(node.output)
            maker = self.graph.producers.get(node.input[0]) if planar else None
            if maker is not None and maker.op_type in _ON_GRID:
                found.update(maker.output)
        return found

    def _fits(self, node: onnx.NodeProto) -> bool:
        values = (*node.input, *node.output)
        constants = [name for name in node.input if name in self.floats and name in self.graph.initializers]
        return self._too_large.isdisjoint(values) and all(map(self._weights.fits, constants))

    def _is_near_softmax(self, node: onnx.NodeProto) -> bool:
        """Whether a node scales or masks the scores, or masks the probabilities."""
        readers = self.graph.consumers.get(node.output[0], [])
        if node.op_type == "Where":
            makers = [self.graph.producers.get(name) for name in node.input]
            near = [*(maker for maker in makers if maker is not None), *readers]
            return any(other.op_type == "Softmax" for other in near)
        return node.op_type == "Div" and any(reader.op_type in ("Softmax", "Where") for reader in readers)

    def _is_position(self, node: onnx.NodeProto) -> bool:
        """Whether a node builds the rows of the position table, which float16 cannot hold exactly."""
        mine = any(name.startswith("position/") for name in node.output)
        return mine and node.op_type != "MatMul"

    def _is_norm_step(self, node: onnx.NodeProto) -> bool:
        makers = [self.graph.producers.get(name) for name in node.input]
        near = [*(maker for maker in makers if maker is not None), *self.graph.consumers.get(node.output[0], [])]
        return node.op_type in ("Add", "Div", "Sub") and any(other.op_type in _NORM_STEPS for other in near)

    def _deciding(self) -> set[str]:
        """Return the float values that integers or booleans are made of: float16 cannot count beyond 2048."""
        stack = [
            name
            for node in self.graph.graph.node
            if node.op_type not in ("QuantizeLinear", "Shape") and not any(name in self.floats for name in node.output)
            for name in node.input
        ]
        found: set[str] = set()
        while stack:
            name = stack.pop()
            node = self.graph.producers.get(name)
            if name not in self.floats or name in found or node is None:
                continue
            found.add(name)
            stack.extend(node.input)
        return found

    def _follow_readers(self, node: onnx.NodeProto) -> None:
        """Let a node that only hands values on, or makes floats of booleans, have the type that its readers want."""
        outputs = [name for name in node.output if name in self.floats]
        readers = [reader for name in outputs for reader in self.graph.consumers.get(name, [])]
        typed = [reader for reader in readers if reader.op_type != "Shape"]
        wanted = not self.graph.output_names.intersection(outputs) and bool(typed) and all(map(self.is_half, typed))
        if node.op_type == "Cast" and outputs and node.input[0] not in self.floats:
            if wanted and self._exact.isdisjoint(outputs):
                self._half.add(node.output[0])
        elif node.op_type in _MOVES and self.is_half(node) and not any(map(self.is_half, typed)):
            sources = [name for name in node.input if name in self.floats and name not in self.graph.initializers]
            if sources and not any(map(self._begins_half, sources)):
                self._half.discard(node.output[0])

    def _begins_half(self, name: str) -> bool:
        """Whether what a value was moved from is computed in float16; the graph's own inputs are not."""
        node = self.graph.producers.get(name)
        while node is not None and node.op_type in _MOVES:
            name = next((value for value in node.input if value in self.floats), "")
            node = self.graph.producers.get(name)
        return node is not None and self.is_half(node)
