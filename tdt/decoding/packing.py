"""From lifted weights to the tables of the compiled decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.decoding.rounding_programs import programs, rounded_products

if TYPE_CHECKING:
    from tdt.kernels.decoder.tables import Dense, Weights
    from tdt.onnxfile import Matrix
    from tdt.surgery import DecoderWeights


def pack(lifted: DecoderWeights, tokens: int, *, quantized: bool) -> Weights:
    """Pack the weights of a decoder for :func:`tdt.kernels.decoder.lockstep.decode`.

    Parameters
    ----------
    lifted : DecoderWeights
        As found in the graphs.
    tokens : int
        Size of the token slice, blank included; the remaining output rows are durations.
    quantized : bool
        Whether LSTM and projections are to be 8-bit; the output layer always has its 8-bit rows. Activations are then
        rounded by these products, and not as the model's graphs do.

    Returns
    -------
    Weights
    """
    from tdt.kernels.decoder import tables

    layers = lifted.layers
    hidden = layers[0].recurrent.values.shape[1]
    matrix, bias = lifted.output.matrix, lifted.output.bias
    encoder_bias, predictor_bias = lifted.encoder.bias, lifted.predictor.bias
    made = () if quantized else programs(lifted, tokens)
    if made:  # where a product is rounded, its program adds the bias
        biases_left = zip((encoder_bias, predictor_bias, bias), rounded_products(lifted), strict=True)
        encoder_bias, predictor_bias, bias = (given * (not late) for given, late in biases_left)
    token_rows, token_levels = matrix.values[:tokens], _levels(matrix, tokens)
    output = tables.pack_dense([token_rows], [token_levels], floats=not quantized, interleaved=False)
    input0 = tables.pad_matrix(tables.pad_gates(layers[0].inputs.values, hidden), 16, np.float32)
    biases = tables.aligned((len(layers), input0.shape[0]), np.float32)
    for row, layer in zip(biases, layers, strict=True):
        row[:] = tables.pad_gates(layer.bias, hidden)
    joint_rows = tables.ceil_to(matrix.values.shape[1], tables.ROW_BLOCK)
    rows = tables.screening_rows(token_levels, output.sums[0], token_rows, bias[:tokens])
    return tables.Weights(
        table=tables.aligned((tokens, input0.shape[0]), np.float32),
        ready=np.zeros(tokens, np.uint8),
        embedding=tables.pad_matrix(lifted.embedding, 16, np.float32),
        input0=input0,
        bias=biases,
        inputs=_dense([_gates(layer.inputs, hidden) for layer in layers[1:]], quantized=quantized),
        recurrent=_dense([_gates(layer.recurrent, hidden) for layer in layers], quantized=quantized),
        predictor=_dense([lifted.predictor.matrix], quantized=quantized),
        predictor_bias=tables.pad_vector(predictor_bias, joint_rows),
        encoder=_dense([lifted.encoder.matrix], quantized=quantized),
        encoder_bias=tables.pad_vector(encoder_bias, joint_rows),
        encoder_width=tables.ceil_to(lifted.encoder.matrix.values.shape[1], 16),
        output=output,
        columns=tables.by_columns(token_levels[0], joint_rows),
        rows=rows,
        duration=tables.pad_matrix(matrix.values[tokens:], 16, np.float32),
        duration_bias=tables.pad_vector(bias[tokens:], tables.ceil_to(len(bias) - tokens, tables.ROW_BLOCK)),
        constants=tables.error_constants(rows, joint_rows),
        roundings=made,
    )


def _levels(matrix: Matrix, stop: int | None = None) -> tuple[Any, Any]:
    """Return the file's own 8-bit rows, or rows rounded here."""
    from tdt.kernels.decoder.tables import quantize_rows

    if matrix.levels is None:
        return quantize_rows(matrix.values[:stop])
    return matrix.levels[:stop], matrix.scales[:stop]


def _gates(matrix: Matrix, hidden: int) -> Matrix:
    from tdt.kernels.decoder.tables import pad_gates
    from tdt.onnxfile import Matrix

    values = pad_gates(matrix.values, hidden)
    if matrix.levels is None:
        return Matrix(values)
    return Matrix(values, pad_gates(matrix.levels, hidden), pad_gates(matrix.scales, hidden))


def _dense(matrices: list[Matrix], *, quantized: bool) -> Dense:
    """Pack matrices in the one precision that is used."""
    from tdt.kernels.decoder.tables import pack_dense

    levels = [_levels(matrix) for matrix in matrices] if quantized else []
    return pack_dense([matrix.values for matrix in matrices], levels, floats=not quantized)
