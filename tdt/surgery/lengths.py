"""Keep lengths integer.

Exports compute the encoder length in floating point: ``(x + 2 - 3) / 2 + 1`` with casts around it. In bfloat16 or
float16 that gives wrong lengths (NVIDIA/TensorRT issue 4822: 12000 frames become 1504 instead of 1500). The same
arithmetic on int64 is exact everywhere; ONNX integer division truncates towards zero, as the cast of the quotient
did.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

    from tdt.surgery.editing import EditableGraph

_FLOATS = (1, 10, 11, 16)
_INT64 = 7
# What makes a mask or a shape of a length, in which it is no number any more.
_ENDS_LENGTH = frozenset({"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Shape"})


def integer_lengths(graph: EditableGraph) -> int:
    """Rewrite integer-valued float arithmetic between casts to int64; return how many casts became integer."""
    integers = _Integers(graph)
    rewritten = 0
    for node in list(graph.graph.node):
        if node.op_type != "Cast" or node.attribute[0].i != _INT64 or node.output[0] in graph.output_names:
            continue
        value = integers.truncated(node.input[0])
        if value is not None and value != node.output[0]:
            graph.replace_uses(node.output[0], value)
            rewritten += 1
    for node in list(graph.graph.node):  # a cast that only passes an integer on, up to the output of the graph
        if node.op_type == "Cast" and node.attribute[0].i == _INT64:
            value = integers.of(node.input[0])
            if value is not None and value != node.input[0]:
                node.input[0] = value
    graph.reindex()
    graph.finish()
    return rewritten


def float_lengths(graph: EditableGraph) -> list[str]:
    """Return the values that a length becomes in floating point on its way to the masks; none in a prepared graph."""
    found: list[str] = []
    names = [value.name for value in graph.graph.input if value.type.tensor_type.elem_type == _INT64]
    seen = set(names)
    while names:
        for node in graph.consumers.get(names.pop(), []):
            if node.op_type in _ENDS_LENGTH or node.output[0] in seen:
                continue
            if node.op_type == "Cast" and node.attribute[0].i in _FLOATS:
                found.append(node.output[0])
            seen.add(node.output[0])
            names.append(node.output[0])
    return found


class _Integers:
    """Finds the int64 value that a float value equals, making the integer nodes that compute it."""

    def __init__(self, graph: EditableGraph) -> None:
        self.graph = graph
        self.known: dict[str, str | None] = {}
        self.int64 = {value.name for value in graph.graph.input if value.type.tensor_type.elem_type == _INT64}

    def of(self, name: str) -> str | None:
        """Return the name of an int64 value equal to float (or int64) `name`, or None."""
        if name not in self.known:
            self.known[name] = None
            self.known[name] = self._find(name)
        return self.known[name]

    def _find(self, name: str) -> str | None:
        if name in self.int64:
            return name
        scalar = self.graph.scalar(name)
        if scalar is not None:
            if scalar != int(scalar):
                return None
            return self.graph.add_constant("length/constant", np.asarray(int(scalar), np.int64))
        node = self.graph.producers.get(name)
        if node is None:
            return None
        if node.op_type == "Cast":
            source = self.truncated(node.input[0]) if node.attribute[0].i == _INT64 else self.of(node.input[0])
            return source if node.attribute[0].i in (*_FLOATS, _INT64) else None
        if node.op_type in ("Add", "Sub", "Mul"):
            return self._combine(node)
        return None

    def truncated(self, name: str) -> str | None:
        """Return an int64 value equal to float `name` rounded towards zero, or None."""
        node = self.graph.producers.get(name)
        if node is not None and node.op_type == "Floor":
            return None
        if node is not None and node.op_type == "Div":
            return self._combine(node)
        return self.of(name)

    def _combine(self, node: onnx.NodeProto) -> str | None:
        left, right = self.of(node.input[0]), self.of(node.input[1])
        if left is None or right is None:
            return None
        made = self.graph.add(node.op_type, [left, right], f"length/{node.op_type.lower()}")
        self.int64.add(made)
        return made
