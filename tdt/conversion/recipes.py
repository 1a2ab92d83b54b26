"""How tensors of a checkpoint become the constant that a graph has in their place.

Exporters write the matrix of a linear layer transposed, an LSTM's gates in ONNX's order, and fold a batch norm into the
convolution before it. Each of these is a recipe: the names of the tensors, and what is done with them.

Sources: PyTorch `torch/onnx/symbolic_opset9.py` (LSTM: gates i, f, g, o become i, o, f, g; biases side by side) and
`torch/csrc/jit/passes/onnx/eval_peephole.cpp: fuseConvBatchNorm`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tdt.conversion.tensors import Array, StoredTensor

BATCH_NORM_EPSILON = 1e-5  # torch.nn.BatchNorm1d's default, which NeMo and Transformers leave as it is
_ONNX_GATES = (0, 3, 1, 2)
_STRIP = 32  # rows: two lines of the cache, of which the processor fetches pairs

Way = Literal["plain", "transposed", "gates", "gate biases", "folded weight", "folded bias"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a constant of the graph is made of.

    Parameters
    ----------
    way : str
        "plain": the tensor; "transposed": a matrix [N, K] as [K, N]; "gates": rows [4 H, K] in ONNX's order;
        "gate biases": two vectors [4 H] in ONNX's order, side by side; "folded weight", "folded bias": of a
        convolution with the batch norm behind it.
    names : tuple of str
        The tensors, in the order of the way's formula.
    optional : tuple of str
        Tensors that may be missing: the bias of a folded convolution.
    """

    way: Way
    names: tuple[str, ...]
    optional: tuple[str, ...] = ()

    def shape(self, tensors: Mapping[str, StoredTensor]) -> tuple[int, ...]:
        """Return the shape of what will be made."""
        shape = tensors[self.names[0]].shape
        if self.way == "transposed":
            return (*shape[1:], shape[0])
        if self.way == "gate biases":
            return (2 * shape[0],)
        return shape if self.way != "folded bias" else tensors[self.names[1]].shape

    def make(self, tensors: Mapping[str, StoredTensor]) -> Array:
        """Return the constant, float32; a plain one may be a view of the file."""
        values = [tensors[name].values() for name in self.names]
        if self.way == "plain":
            return values[0]
        if self.way == "transposed":
            return _transposed(values[0])
        if self.way == "gates":
            return _onnx_gates(values[0])
        if self.way == "gate biases":
            return np.concatenate([_onnx_gates(values[0]), _onnx_gates(values[1])])
        bias = tensors[self.optional[0]].values() if self.optional and self.optional[0] in tensors else None
        return _folded(self.way, values, bias)


def _transposed(rows: Array) -> Array:
    """Return [N, …] as […, N], a strip of rows at a time: three times as fast as one after the other."""
    out = np.empty((*rows.shape[1:], rows.shape[0]), rows.dtype)
    for start in range(0, len(rows), _STRIP):
        out[..., start : start + _STRIP] = np.moveaxis(rows[start : start + _STRIP], 0, -1)
    return out


def _onnx_gates(rows: Array) -> Array:
    """Return gates i, f, g, o, one after the other along the first axis, as i, o, f, g."""
    parts = rows.reshape(4, -1, *rows.shape[1:])
    return parts[list(_ONNX_GATES)].reshape(rows.shape)


def _folded(way: Way, values: list[Any], bias: Any) -> Array:
    """Return weight or bias of a convolution with the batch norm (scale, shift, mean, variance) behind it folded in."""
    weight, scale, shift, mean, variance = values
    factor = scale / np.sqrt(variance + np.float32(BATCH_NORM_EPSILON))
    if way == "folded weight":
        return np.asarray(weight * factor.reshape(-1, *[1] * (weight.ndim - 1)), np.float32)
    offset = -mean if bias is None else bias - mean
    return np.asarray(offset * factor + shift, np.float32)
