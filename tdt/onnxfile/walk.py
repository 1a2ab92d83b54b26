"""Walking an ONNX graph backwards: who makes a value, what is constant, which nodes only reshape or round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.onnxfile.blocks import dequantised
from tdt.onnxfile.roundings import Rounding

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    import onnx

    from tdt.onnxfile.roundings import Step

    Float32 = npt.NDArray[np.float32]

# Operators that hand on their first input's numbers, whatever they do to its shape or type.
RESHAPING = frozenset({"Transpose", "Unsqueeze", "Squeeze", "Reshape", "Identity", "Cast", "Flatten"})
MAX_STEPS = 64
# What walking a damaged graph runs into: missing inputs, cycles, element types and shapes that are none.
MALFORMED = (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, NotImplementedError, RecursionError)


class StructureError(Exception):
    """The walk met something it does not know; the message says what. Never leaves the lifting."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """A weight matrix of a layer y = W x.

    Parameters
    ----------
    values : ndarray [shape=(N, K)], float32
    levels : ndarray [shape=(N, K)], int8, optional
        The 8-bit weights of the file, where it has them with zero point 0; value = level × scale.
    scales : ndarray [shape=(N,)], float32, optional
        One a row.
    """

    values: Float32
    levels: Any = None
    scales: Any = None


@dataclass(frozen=True, slots=True)
class Linear:
    """A layer found in the graph: matrix, bias [N] float32, and the name of its input value.

    `before`, `between` and `after` say how the input, the product and its sum with the bias are rounded, if at all.
    """

    matrix: Matrix
    bias: Float32
    source: str
    before: tuple[Step, ...] = ()
    between: tuple[Step, ...] = ()
    after: tuple[Step, ...] = ()


class Walk:
    """Answers questions about a graph by value name.

    Parameters
    ----------
    model : onnx.ModelProto
        With its weights in memory.
    path : Path
        Where it came from, for messages.
    """

    def __init__(self, model: onnx.ModelProto, path: Path) -> None:
        from onnx import helper, numpy_helper

        self.path = path
        graph = model.graph
        self._attribute = helper.get_attribute_value
        self._to_array = numpy_helper.to_array
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self.inputs = [port.name for port in graph.input if port.name not in self._weights]
        self.outputs = [port.name for port in graph.output]
        self._makers = {name: node for node in graph.node for name in node.output if name}
        self.rounds = any(node.op_type == "QuantizeLinear" for node in graph.node)

    def maker(self, name: str) -> Any:
        """Return the node that makes a value, or None for inputs and weights."""
        return self._makers.get(name)

    def attributes(self, node: Any) -> dict[str, Any]:
        """Return a node's attributes by name."""
        return {item.name: self._attribute(item) for item in node.attribute}

    def constant(self, name: str) -> Any:
        """Return the array of a constant value, or None where it depends on the graph's inputs."""
        if name in self._weights:
            return self._to_array(self._weights[name])
        node = self.maker(name)
        if node is None:
            return None
        if node.op_type == "Constant":
            value = self.attributes(node).get("value")
            return None if value is None else self._to_array(value)
        if node.op_type == "Identity":
            return self.constant(node.input[0])
        if node.op_type == "Transpose":
            inner = self.constant(node.input[0])
            return None if inner is None else np.transpose(inner, self.attributes(node).get("perm"))
        if node.op_type == "Cast":
            inner = self.constant(node.input[0])
            return None if inner is None else _cast(inner, self.attributes(node)["to"])
        if node.op_type == "DequantizeLinear":
            stored, scale, zero = self.grid(node)
            options = self.attributes(node)
            whole = stored is not None and scale is not None
            return (
                dequantised(stored, scale, zero, options.get("axis", 1), options.get("block_size", 0))
                if whole
                else None
            )
        return None

    def optional(self, node: Any, index: int) -> Any:
        """Return the array of an input that may be left out; None where it is.

        Raises
        ------
        StructureError
            Where it is there and not constant.
        """
        if len(node.input) <= index or not node.input[index]:
            return None
        array = self.constant(node.input[index])
        if array is None:
            raise StructureError(f"input {index} of a {node.op_type} node is not constant")
        return array

    def grid(self, node: Any) -> tuple[Any, Any, Any]:
        """Return levels, scale and zero point of a DequantizeLinear node; None where not constant or not there."""
        return self.constant(node.input[0]), self.constant(node.input[1]), self.optional(node, 2)

    def strip(self, name: str) -> str:
        """Pass over the nodes that only reshape and return the value they start from."""
        for _ in range(MAX_STEPS):
            node = self.maker(name)
            if node is None or node.op_type not in RESHAPING:
                return name
            name = node.input[0]
        raise StructureError(f"more than {MAX_STEPS} reshaping nodes in a row")

    def descend(self, name: str) -> tuple[str, tuple[Step, ...]]:
        """Pass over the nodes that only reshape or round; return the value they start from, and the roundings in order.

        Raises
        ------
        StructureError
            Where a value is rounded with more than one scale, or quantised and dequantised with different ones.
        """
        steps: list[Step] = []
        name = self.strip(name)
        while (node := self.maker(name)) is not None and node.op_type == "DequantizeLinear":
            source = self.maker(self.strip(node.input[0]))
            if source is None or source.op_type != "QuantizeLinear":
                break
            steps.append(self._pair(source, node))
            name = self.strip(source.input[0])
        return name, tuple(reversed(steps))

    def _pair(self, quantise: Any, dequantise: Any) -> Rounding:
        """Return what a QuantizeLinear and the DequantizeLinear after it do to a number."""
        grids = [(self.constant(node.input[1]), self.optional(node, 2)) for node in (quantise, dequantise)]
        (scale, zero), (again, other) = grids
        if scale is None or again is None or np.size(scale) != 1 or not np.array_equal(scale, again):
            raise StructureError("an activation is rounded with several scales, or with one and read with another")
        if (zero is None) != (other is None) or (zero is not None and not np.array_equal(zero, other)):
            raise StructureError("an activation is rounded with one zero point and read with another")
        if zero is None and "output_dtype" in self.attributes(quantise):
            raise StructureError("an activation is rounded to a type that its zero point does not tell")
        kind = np.dtype(np.uint8) if zero is None else zero.dtype
        span, signed = 1 << int(kind.name.lstrip("uint")), kind.name.startswith("int")
        level = 0 if zero is None else int(np.asarray(zero).reshape(-1)[0])
        return Rounding(float(np.asarray(scale).reshape(-1)[0]), level, -span // 2 * signed, span // (1 + signed) - 1)


def _cast(array: Any, kind: int) -> Any:
    """Return a constant as another element type, as ONNX numbers it."""
    from onnx import helper

    return array.astype(helper.tensor_dtype_to_np_dtype(kind))
