"""The prediction network (LSTM) in compiled code, run for the utterances that emitted a token."""

from __future__ import annotations

from typing import Any

from .dense import dense, multiply_floats
from .jit import inline
from .rows import lstm_cell
from .simd import address_of

TABLE_ROWS = 7  # place in the counters


@inline
def _input_gates(weights: Any, token: int, counters: Any) -> Any:
    """Return the first layer's input gates for a token, computed on first use.

    Two threads may fill the same row at once: they write the same numbers, and the flag follows them.
    """
    row = weights.table[token]
    if weights.ready[token] == 0:
        row[:] = weights.bias[0]
        multiply_floats(weights.input0, False, weights.embedding[token : token + 1], 1, weights.table[token : token + 1])
        weights.ready[token] = 1
        counters[TABLE_ROWS] += 1
    return row


@inline
def run_predictor(
    isa: int, quantized: bool, weights: Any, work: Any, state: Any, rows: Any, m: int, counters: Any  # noqa: FBT001
) -> None:
    """Feed each listed utterance's label to the network: state before → state after, and the joint's projection.

    Parameters
    ----------
    state : DecodingState
        Reads `labels` and the state before the label, writes the state after it and `projected`.
    rows : ndarray [shape=(≥ m,)], int64
        Utterances to run.
    """
    gates, gathered = work.gates, work.gathered
    layers, width = state.hidden.shape[1], state.hidden.shape[2]
    for layer in range(layers):
        for i in range(m):
            u = rows[i]
            gates[i, :] = _input_gates(weights, state.labels[u], counters) if layer == 0 else weights.bias[layer]
        if layer > 0:
            for i in range(m):
                gathered[i, :] = state.next_hidden[rows[i], layer - 1]
            dense(isa, quantized, weights.inputs, layer - 1, gathered, m, gates, work.scratch)
        for i in range(m):
            gathered[i, :] = state.hidden[rows[i], layer]
        dense(isa, quantized, weights.recurrent, layer, gathered, m, gates, work.scratch)
        for i in range(m):
            place = (rows[i] * layers + layer) * width
            lstm_cell(
                address_of(gates, i * gates.shape[1]),
                width,
                address_of(state.cell, place),
                address_of(state.next_cell, place),
                address_of(state.next_hidden, place),
            )
    _project(isa, quantized, weights, work, state, rows, m)


@inline
def _project(
    isa: int, quantized: bool, weights: Any, work: Any, state: Any, rows: Any, m: int  # noqa: FBT001
) -> None:
    """Project the top layer's output for the joint."""
    top = state.hidden.shape[1] - 1
    for i in range(m):
        work.gathered[i, :] = state.next_hidden[rows[i], top]
        work.hidden[i, :] = weights.predictor_bias
    dense(isa, quantized, weights.predictor, 0, work.gathered, m, work.hidden, work.scratch)
    for i in range(m):
        state.projected[rows[i], :] = work.hidden[i]
