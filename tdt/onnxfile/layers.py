"""The layers of a network as graphs hold them: matrix products and LSTMs, float or quantised in any known form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.onnxfile.blocks import dequantised, gathered_rows, nbits_rows
from tdt.onnxfile.roundings import INT8_LEVEL, BlockRounding
from tdt.onnxfile.walk import Linear, Matrix, StructureError, Walk

if TYPE_CHECKING:
    from tdt.onnxfile.roundings import Step

_BYTES = (np.int8, np.uint8)


class Walker(Walk):
    """Recognises layers by structure."""

    def weight(self, name: str) -> Matrix | None:
        """Return a constant matrix [K, N] as rows [N, K], dequantised where a DequantizeLinear makes it."""
        node = self.maker(name)
        if node is not None and node.op_type == "DequantizeLinear":
            stored, scale, zero = self.grid(node)
            if stored is not None and scale is not None and self._is_by_slice(node, scale, stored.ndim - 1):
                return quantised(stored, scale, zero)
        array = self.constant(name)
        if array is None or array.ndim != 2:
            return None
        return Matrix(np.ascontiguousarray(array.T, np.float32))

    def _is_by_slice(self, node: Any, scale: Any, axis: int) -> bool:
        """Return whether a DequantizeLinear has one scale, or one a slice of `axis`."""
        options = self.attributes(node)
        return scale.size == 1 or (not options.get("block_size", 0) and options.get("axis", 1) in (axis, -1))

    def linear(self, name: str) -> Linear:
        """Recognise y = W x + b at the value `name`, in floating point or quantised in any form known here.

        Raises
        ------
        StructureError
            Where the value is made in another way.
        """
        node, after = self._made_by(name)
        between: tuple[Step, ...] = ()
        bias: Any = None
        if node.op_type == "Add":
            found = [self.constant(value) for value in node.input]
            index = next((i for i, array in enumerate(found) if array is not None), None)
            if index is None:
                raise StructureError(f"an Add without a constant bias makes {name!r}")
            bias = np.asarray(found[index], np.float32).reshape(-1)
            node, between = self._made_by(node.input[1 - index])
        matrix, source, own_bias = self._product(node)
        bias = own_bias if bias is None else bias
        rows = matrix.values.shape[0]
        bias = np.zeros(rows, np.float32) if bias is None else bias
        if bias.shape != (rows,):
            raise StructureError(f"the bias of {name!r} has shape {bias.shape}, its matrix {rows} rows")
        before = self.descend(source)[1] + self._own_rounding(node)
        return Linear(matrix, bias, source, before, between, after)

    def _own_rounding(self, node: Any) -> tuple[Step, ...]:
        """Return how a product rounds its input itself."""
        options = self.attributes(node)
        rounds = node.op_type == "MatMulNBits" and options.get("accuracy_level", 0) >= INT8_LEVEL
        return (BlockRounding(options["block_size"]),) if rounds else ()

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
        if node is not None and node.op_type == "DequantizeLinear":
            stored, scale, zero = self.grid(node)
            if stored is not None and scale is not None and self._is_by_slice(node, scale, 1):
                return quantised(stored[0].T, scale, zero)
        values = self.constant(name)
        if values is None:
            raise StructureError("an LSTM whose weights are not constant")
        return Matrix(np.ascontiguousarray(values[0], np.float32))

    def _made_by(self, name: str) -> tuple[Any, tuple[Step, ...]]:
        source, steps = self.descend(name)
        node = self.maker(source)
        if node is None:
            raise StructureError(f"{name!r} is an input or a constant where a layer is expected")
        return node, steps

    def _product(self, node: Any) -> tuple[Matrix, str, Any]:
        """Return matrix, input and bias of a MatMul, Gemm, MatMulNBits or a dynamically quantised product."""
        if node.op_type == "MatMul":
            matrix = self.weight(node.input[1])
            if matrix is not None:
                return matrix, node.input[0], None
        if node.op_type == "Gemm":
            return self._gemm(node)
        if node.op_type == "MatMulNBits":
            return self._blocks(node)
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

    def _blocks(self, node: Any) -> tuple[Matrix, str, Any]:
        options = self.attributes(node)
        parts = [self.optional(node, index) for index in range(1, 6)]
        packed, scale, zero, order, bias = parts
        if packed is None or scale is None or (order is not None and order.size):
            raise StructureError("a MatMulNBits node without constant weights, or with its columns in another order")
        if options.get("weight_prepacked", 0):
            raise StructureError("a MatMulNBits node whose weights are packed for one kind of card")
        sizes = (options["N"], options["K"], options.get("bits", 4), options["block_size"])
        bias = None if bias is None else np.asarray(bias, np.float32)
        return Matrix(nbits_rows(packed, scale, zero, sizes)), node.input[0], bias

    def gathered(self, name: str) -> Linear:
        """Recognise a table looked up at `name`: rows [V, E] as a matrix, and how the looked-up row is rounded.

        Raises
        ------
        StructureError
            Where the value is made in another way.
        """
        source, steps = self.descend(name)
        node, late = self.maker(source), None
        if node is not None and node.op_type == "DequantizeLinear":
            late, node = node, self.maker(self.strip(node.input[0]))
        if node is None or node.op_type not in ("Gather", "GatherBlockQuantized"):
            raise StructureError("the prediction network does not start from an embedding (Gather)")
        options = self.attributes(node)
        if options.get("axis", options.get("gather_axis", 0)) != 0:
            raise StructureError("the embedding is looked up along another axis than its first")
        table = self._table(node, options, late)
        return Linear(Matrix(table), np.zeros(0, np.float32), node.input[1], after=steps)

    def _table(self, node: Any, options: dict[str, Any], late: Any) -> Any:
        """Return the rows of a Gather node's table; `late` dequantises them where they are looked up as levels."""
        stored = self.constant(node.input[0])
        if stored is None or stored.ndim != 2:
            raise StructureError("the embedding's table is not constant")
        if node.op_type == "GatherBlockQuantized":
            scale = self.optional(node, 2)
            if scale is None:
                raise StructureError("the embedding's scales are not constant")
            return gathered_rows(stored, scale, self.optional(node, 3), options)
        if late is None:
            return np.ascontiguousarray(stored, np.float32)
        _, scale, zero = self.grid(late)
        if scale is None or scale.size != 1:
            raise StructureError("a quantised embedding with more than one scale")
        return dequantised(stored, scale, zero)

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
    """Return weights of few bits [K, N] with scale and zero point (one, or one a column; None is 0) as rows [N, K].

    The levels are kept where they are symmetric int8 (zero point 0, no -128); the values always are.
    """
    rows = stored.shape[-1]
    scales = np.ascontiguousarray(np.broadcast_to(np.asarray(scale, np.float32).reshape(-1), (rows,)))
    zeros = np.broadcast_to(np.asarray(0 if zero is None else zero).reshape(-1), (rows,)).astype(np.int32)
    centred = np.ascontiguousarray(stored.T.astype(np.int32) - zeros[:, None])
    values = centred.astype(np.float32) * scales[:, None]
    if stored.dtype in _BYTES and np.abs(centred).max(initial=0) <= 127:
        return Matrix(values, centred.astype(np.int8), scales)
    return Matrix(values)
