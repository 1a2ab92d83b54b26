"""What the prediction network (LSTM) computes for one utterance beside the products, in compiled code."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..vector.jit import inline
from ..vector.memory import copy_floats, get_int, keep_apart, raise_flag, read_flag
from ..vector.rows import lstm_cell
from . import task as f
from .counters import count_up
from .dense import ONE, PLAIN, multiply_floats, quantize_vectors
from .roundings import BY_LAYER, CELL, HIDDEN, INPUT, LAYER_PLACES, PREDICTION, round_place

# What a product is added to: what is there, the token's input gates, the bias of the joint's projection.
KEPT, TOKEN, PROJECTION = map(np.int64, range(3))


@inline
def stage_row(task: Any, rows: int, i: int, before: int, layer: int, source: int, start: int) -> None:
    """Make row `i` ready for a product: vector `before` of `layer` in `source` [B, L, H16], and what it starts from."""
    keep_apart()
    u, width = get_int(rows, i), task[f.HIDDEN]
    if start == TOKEN:
        _input_gates(task, get_int(task[f.LABELS], u), task[f.GATE_ROWS] + 4 * i * task[f.GATES])
    elif start == PROJECTION:
        copy_floats(task[f.ACTIVATIONS] + 4 * i * task[f.JOINT], task[f.PREDICTOR_BIAS], task[f.JOINT])
    copy_floats(task[f.GATHERED] + 4 * i * width, source + _layer_at(task, before, layer), width)
    if task[f.QUANTIZED] != 0:
        quantize_vectors(task, task[f.GATHERED], width, i, ONE)


@inline
def finish_layer(task: Any, rows: int, i: int, layer: int) -> None:
    """Apply the LSTM cell to row `i`, and stage it for the next layer or for the joint."""
    keep_apart()
    u = get_int(rows, i)
    at, before = _layer_at(task, u, layer), _layer_at(task, get_int(task[f.SOURCES], u), layer)
    cells = task[f.STATE_CELL] + before, task[f.NEXT_CELL] + at
    gates = task[f.GATE_ROWS] + 4 * i * task[f.GATES]
    lstm_cell(gates, task[f.HIDDEN], cells[0], cells[1], task[f.NEXT_HIDDEN] + at)
    start = PROJECTION
    if layer < task[f.LAYERS] - 1:
        start = KEPT
        copy_floats(gates, task[f.BIAS] + 4 * (layer + 1) * task[f.GATES], task[f.GATES])
    stage_row(task, rows, i, u, layer, task[f.NEXT_HIDDEN], start)
    place = PREDICTION if start == PROJECTION else BY_LAYER + LAYER_PLACES * (layer + 1) + INPUT
    round_place(task, place, task[f.GATHERED] + 4 * i * task[f.HIDDEN], task[f.HIDDEN])


@inline
def round_states(task: Any, u: int) -> None:
    """Round the states that utterance `u` carries to its next label, where the model's graphs do."""
    if task[f.ROUNDINGS] != 0:
        for layer in range(task[f.LAYERS]):
            at, place = _layer_at(task, u, layer), BY_LAYER + LAYER_PLACES * layer
            round_place(task, place + HIDDEN, task[f.NEXT_HIDDEN] + at, task[f.HIDDEN])
            round_place(task, place + CELL, task[f.NEXT_CELL] + at, task[f.HIDDEN])


@inline
def _layer_at(task: Any, u: int, layer: int) -> Any:
    """Return where an utterance's vector of a layer lies in an array [B, L, H16] of floats, in bytes."""
    return 4 * (u * task[f.LAYERS] + layer) * task[f.HIDDEN]


@inline
def _input_gates(task: Any, token: int, out: int) -> None:
    """Write the first layer's input gates for a token to `out`; they are computed on first use and kept in TABLE.

    Two threads may meet at a new row: each computes it in its own buffer, and both store the same numbers.
    """
    gates, width = task[f.GATES], task[f.EMBEDDING]
    row = task[f.TABLE] + 4 * token * gates
    if read_flag(task[f.READY], token) != 0:
        copy_floats(out, row, gates)
        return
    copy_floats(out, task[f.BIAS], gates)
    embedding = task[f.EMBEDDING_ROWS] + 4 * token * width
    multiply_floats(task[f.INPUT0], PLAIN, gates, width, embedding, width, ONE, out, gates)
    copy_floats(row, out, gates)
    raise_flag(task[f.READY], token)
    count_up(task, f.TABLE_ROWS, 1)
