"""Walking an ONNX graph backwards: who makes a value, what is constant, which nodes only reshape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    import onnx

    Float32 = npt.NDArray[np.float32]

# Operators that hand on their first input's numbers, whatever they do to its shape or type.
RESHAPING = frozenset({"Transpose", "Unsqueeze", "Squeeze", "Reshape", "Identity", "Cast", "Flatten"})
MAX_STEPS = 64


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
    """A layer found in the graph: matrix, bias [N] float32, and the name of its input value."""

    matrix: Matrix
    bias: Float32
    source: str


class Walker:
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
        return None

    def strip(self, name: str) -> str:
        """Pass over the nodes that only reshape and return the value they start from."""
        for _ in range(MAX_STEPS):
            node = self.maker(name)
            if node is None or node.op_type not in RESHAPING:
                return name
            name = node.input[0]
        raise StructureError(f"more than {MAX_STEPS} reshaping nodes in a row")

    def weight(self, name: str) -> Matrix | None:
        """Return a constant matrix [K, N] as rows [N, K], dequantised where a DequantizeLinear makes it."""
        node = self.maker(name)
        if node is not None and node.op_type == "DequantizeLinear":
            stored, scale = self.constant(node.input[0]), self.constant(node.input[1])
            zero = self.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1, np.int8)
            if stored is None or scale is None or zero is None:
                return None
            return quantised(stored, scale, zero)
        array = self.constant(name)
        if array is None or array.ndim != 2:
            return None
        return Matrix(np.ascontiguousarray(array.T, np.float32))

    def linear(self, name: str) -> Linear:
        """Recognise y = W x + b at the value `name`, in float32 or dynamically quantised.

        Raises
        ------
        StructureError
            Where the value is made in another way.
        """
        node = self._made_by(name)
        bias: Any = None
        if node.op_type == "Add":
            found = [self.constant(value) for value in node.input]
            index = next((i for i, array in enumerate(found) if array is not None), None)
            if index is None:
                raise StructureError(f"an Add without a constant bias makes {name!r}")
            bias = np.asarray(found[index], np.float32).reshape(-1)
            node = self._made_by(node.input[1 - index])
        matrix, source, own_bias = self._product(node)
        bias = own_bias if bias is None else bias
        rows = matrix.values.shape[0]
        bias = np.zeros(rows, np.float32) if bias is None else bias
        if bias.shape != (rows,):
            raise StructureError(f"the bias of {name!r} has shape {bias.shape}, its matrix {rows} rows")
        return Linear(matrix, bias, source)

    def lstm_weights(self, node: Any) -> tuple[Matrix, Matrix]:
        """Return the input and recurrent weights of an LSTM or DynamicQuantizeLSTM node, rows [4 H, K].

        Raises
        ------
        StructureError
            Where they are not constant, or quantised in another way than with one scale a tensor or a row.
        """
        if node.op_type == "DynamicQuantizeLSTM":
            stored = [self.constant(name) for name in node.input[1:3]]
            grids = [self.constant(name) for name in node.input[8:12]]
            if any(array is None for array in (*stored, *grids)):
                raise StructureError("a DynamicQuantizeLSTM whose weights or scales are not constant")
            # [1, K, 4 H]: stored as the columns of a product, unlike LSTM's.
            return quantised(stored[0][0], *grids[:2]), quantised(stored[1][0], *grids[2:])
        return self._gates(node.input[1]), self._gates(node.input[2])

    def _gates(self, name: str) -> Matrix:
        """Return an LSTM's weights [1, 4 H, K] as rows, with their levels where they are stored in 8 bits."""
        node = self.maker(name)
        stored_here = node is not None and node.op_type == "DequantizeLinear"
        levels = self.constant(node.input[0] if stored_here else name)
        if levels is None:
            raise StructureError("an LSTM whose weights are not constant")
        if not stored_here:
            return Matrix(np.ascontiguousarray(levels[0], np.float32))
        scale = self.constant(node.input[1])
        zero = self.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1, np.int8)
        if scale is None or zero is None or scale.size not in (1, len(levels[0])):
            raise StructureError("an LSTM whose 8-bit weights have other scales than one a row")
        return quantised(levels[0].T, scale, zero)

    def _made_by(self, name: str) -> Any:
        node = self.maker(self.strip(name))
        if node is None:
            raise StructureError(f"{name!r} is an input or a constant where a layer is expected")
        return node

    def _product(self, node: Any) -> tuple[Matrix, str, Any]:
        """Return matrix, input and bias of a MatMul, Gemm or a dynamically quantised product."""
        if node.op_type == "MatMul":
            matrix = self.weight(node.input[1])
            if matrix is not None:
                return matrix, node.input[0], None
        if node.op_type == "Gemm":
            return self._gemm(node)
        if node.op_type == "Mul":
            return (*self.integer_product(node)[:2], None)
        if node.op_type == "DynamicQuantizeMatMul":
            stored, scale = self.constant(node.input[1]), self.constant(node.input[2])
            optional = [self.constant(name) if name else None for name in (*node.input[3:], "", "")][:2]
            if stored is not None and scale is not None:
                zero = np.zeros(1, stored.dtype) if optional[0] is None else optional[0]
                return quantised(stored, scale, zero), node.input[0], optional[1]
        raise StructureError(f"a {node.op_type} node stands where a product with a constant matrix is expected")

    def _gemm(self, node: Any) -> tuple[Matrix, str, Any]:
        options = self.attributes(node)
        array = self.constant(node.input[1])
        plain = options.get("alpha", 1.0) == 1.0 and options.get("beta", 1.0) == 1.0 and not options.get("transA", 0)
        if array is None or not plain:
            raise StructureError("a Gemm node with a scale, a transposed input or a matrix that is not constant")
        rows = array if options.get("transB", 0) else array.T
        bias = self.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        bias = None if bias is None else np.broadcast_to(np.asarray(bias, np.float32).reshape(-1), (rows.shape[0],))
        return Matrix(np.ascontiguousarray(rows, np.float32)), node.input[0], bias

    def integer_product(self, node: Any) -> tuple[Matrix, str, str]:
        """Recognise Mul(Cast(MatMulInteger(x, W)), Mul(scale of x, scale of W)); return W and the names of x and W.

        Raises
        ------
        StructureError
            Where `node` is no such product.
        """
        makers = [self.maker(self.strip(name)) for name in node.input]
        product = next((maker for maker in makers if maker is not None and maker.op_type == "MatMulInteger"), None)
        scales = next((maker for maker in makers if maker is not None and maker.op_type == "Mul"), None)
        if product is None or scales is None:
            raise StructureError("a Mul node that does not scale a MatMulInteger")
        scale = next((array for array in map(self.constant, scales.input) if array is not None), None)
        stored = self.constant(product.input[1])
        zero = self.constant(product.input[3]) if len(product.input) > 3 and product.input[3] else np.zeros(1, np.int8)
        source = self.maker(product.input[0])
        if (
            scale is None
            or stored is None
            or zero is None
            or source is None
            or source.op_type != "DynamicQuantizeLinear"
        ):
            raise StructureError(
                "a MatMulInteger whose weights are not constant or whose input is not quantised at run time"
            )
        return quantised(stored, scale, zero), source.input[0], product.input[1]


def quantised(stored: Any, scale: Any, zero: Any) -> Matrix:
    """Return 8-bit weights [K, N] with scale and zero point (one, or one a column) as rows [N, K].

    The levels are kept where they are symmetric int8 (zero point 0, no -128); the values always are.
    """
    rows = stored.shape[-1]
    scales = np.ascontiguousarray(np.broadcast_to(np.asarray(scale, np.float32).reshape(-1), (rows,)))
    zeros = np.broadcast_to(np.asarray(zero).reshape(-1), (rows,)).astype(np.int32)
    centred = np.ascontiguousarray(stored.T.astype(np.int32) - zeros[:, None])
    values = centred.astype(np.float32) * scales[:, None]
    if np.abs(centred).max(initial=0) <= 127:
        return Matrix(values, centred.astype(np.int8), scales)
    return Matrix(values)
