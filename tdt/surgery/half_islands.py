"""Float32 islands of a float16 graph, narrowed for CUDA.

`tdt quantize` writes layer norms and softmax in float32 between casts: that is how a strongly typed network is told to
compute them so, and TensorRT merges the casts into its kernels. ONNX Runtime's CUDA provider launches a kernel for each
cast, five pairs a conformer layer, while its LayerNormalization and Softmax take float16 and sum in float32 by
themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tdt.surgery.value_types import FLOAT, FLOAT16, values_of_type

if TYPE_CHECKING:
    import onnx

    from tdt.surgery.editing import EditableGraph

_ISLANDS = frozenset({"Div", "LayerNormalization", "Softmax", "Where"})
_LARGEST = 65504.0


def narrow_islands(graph: EditableGraph) -> int:
    """Let layer norms, softmax, and the scaling and masks around it take and give float16, in place; return how many.

    A node stays where float16 cannot hold a constant of it, or where its result is wanted in float32. A graph without
    float16 is not touched.
    """
    if not any(tensor.data_type == FLOAT16 for tensor in graph.graph.initializer):
        return 0
    islands = _Islands(graph)
    for node in islands.nodes:
        islands.narrow(node)
    graph.reindex()
    graph.finish()
    return len(islands.nodes)


class _Islands:
    def __init__(self, graph: EditableGraph) -> None:
        self.graph = graph
        self.floats = values_of_type(graph, FLOAT)
        self.half = values_of_type(graph, FLOAT16)
        self.names = {
            node.output[0]
            for node in graph.graph.node
            if node.op_type in _ISLANDS and node.output[0] in self.floats and len(node.output) == 1
        }
        while drop := {name for name in self.names if not self._is_between_casts(graph.producers[name])}:
            self.names -= drop
        self.nodes = [node for node in graph.graph.node if node.output[0] in self.names]
        self._made: dict[str, str] = {}

    def _is_between_casts(self, node: onnx.NodeProto) -> bool:
        inputs = [name for name in node.input if name in self.floats]
        readers = self.graph.consumers.get(node.output[0], [])
        return (
            all(map(self._can_narrow, inputs))
            and node.output[0] not in self.graph.output_names
            and bool(readers)
            and all(self._is_cast(reader, FLOAT16) or reader.output[0] in self.names for reader in readers)
        )

    def _can_narrow(self, name: str) -> bool:
        if name in self.graph.initializers:
            value = self.graph.constant(name)
            return value is not None and bool(np.abs(value).max(initial=0.0) <= _LARGEST)
        return name in self.names or self._source(name) is not None

    def _source(self, name: str) -> str | None:
        """Return the float16 value that `name` is a cast of."""
        node = self.graph.producers.get(name)
        return node.input[0] if node is not None and self._is_cast(node, FLOAT) and node.input[0] in self.half else None

    @staticmethod
    def _is_cast(node: onnx.NodeProto, kind: int) -> bool:
        return node.op_type == "Cast" and node.attribute[0].i == kind

    def narrow(self, node: onnx.NodeProto) -> None:
        for index, name in enumerate(node.input):
            if name in self.floats and name not in self.names:
                node.input[index] = self._source(name) or self._constant(name)
        for reader in list(self.graph.consumers.get(node.output[0], [])):
            if self._is_cast(reader, FLOAT16):
                self.graph.replace_uses(reader.output[0], node.output[0])

    def _constant(self, name: str) -> str:
        if name not in self._made:
            value = self.graph.weight(name).astype(np.float16)
            self._made[name] = self.graph.add_constant(f"{name}/half", value)
        return self._made[name]
