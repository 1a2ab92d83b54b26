"""From lifted weights to the tables of the compiled decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tdt.kernels.tables import Weights
    from tdt.lifting import DecoderWeights
    from tdt.onnx_walk import Matrix


def pack(lifted: DecoderWeights, tokens: int, *, quantized: bool) -> Weights:
    """Pack the weights of a decoder for :func:`tdt.kernels.lockstep.decode`.

    Parameters
    ----------
    lifted : DecoderWeights
        As found in the graphs.
    tokens : int
        Size of the token slice, blank included; the remaining output rows are durations.
    quantized : bool
        Whether LSTM and projections are to be 8-bit; the output layer always has its 8-bit rows.

    Returns
    -------
    Weights
    """
    from tdt.kernels import tables

    layers = lifted.layers
    hidden = layers[0].recurrent.values.shape[1]
    matrix, bias = lifted.output.matrix, lifted.output.bias
    output = _dense([_rows(matrix, 0, tokens)], floats=not quantized, bytes_=True)
    input0 = tables.pad_matrix(tables.pad_gates(layers[0].inputs.values, hidden), 16, np.float32)
    biases = tables.aligned((len(layers), input0.shape[0]), np.float32)
    for row, layer in zip(biases, layers, strict=True):
        row[:] = tables.pad_gates(layer.bias, hidden)
    joint_rows = tables.ceil_to(matrix.values.shape[1], tables.ROW_BLOCK)
    either = {"floats": not quantized, "bytes_": quantized}
    return tables.Weights(
        table=tables.aligned((tokens, input0.shape[0]), np.float32),
        ready=np.zeros(tokens, np.uint8),
        embedding=tables.pad_matrix(lifted.embedding, 16, np.float32),
        input0=input0,
        bias=biases,
        inputs=_dense([_gates(layer.inputs, hidden) for layer in layers[1:]], **either),
        recurrent=_dense([_gates(layer.recurrent, hidden) for layer in layers], **either),
        predictor=_dense([lifted.predictor.matrix], **either),
        predictor_bias=tables.pad_vector(lifted.predictor.bias, joint_rows),
        encoder=_dense([lifted.encoder.matrix], **either),
        encoder_bias=tables.pad_vector(lifted.encoder.bias, joint_rows),
        output=output,
        rows=tables.screening_rows(output, matrix.values[:tokens], bias[:tokens]),
        duration=tables.pad_matrix(matrix.values[tokens:], 16, np.float32),
        duration_bias=tables.pad_vector(bias[tokens:], tables.ceil_to(len(bias) - tokens, tables.ROW_BLOCK)),
    )


def _rows(matrix: Matrix, start: int, stop: int) -> Matrix:
    from tdt.onnx_walk import Matrix

    if matrix.levels is None:
        return Matrix(matrix.values[start:stop])
    return Matrix(matrix.values[start:stop], matrix.levels[start:stop], matrix.scales[start:stop])


def _gates(matrix: Matrix, hidden: int) -> Matrix:
    from tdt.kernels.tables import pad_gates
    from tdt.onnx_walk import Matrix

    values = pad_gates(matrix.values, hidden)
    if matrix.levels is None:
        return Matrix(values)
    return Matrix(values, pad_gates(matrix.levels, hidden), pad_gates(matrix.scales, hidden))


def _dense(matrices: list[Matrix], *, floats: bool, bytes_: bool) -> Any:
    from tdt.kernels.tables import pack_dense

    given = [None if matrix.levels is None else (matrix.levels, matrix.scales) for matrix in matrices]
    return pack_dense([matrix.values for matrix in matrices], given, floats=floats, bytes_=bytes_)
