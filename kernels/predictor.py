"""The prediction network (LSTM) in compiled code, run for the utterances that emitted a token."""

from __future__ import annotations

from typing import Any

from . import task as f
from .dense import PLAIN, multiply_floats
from .jit import inline
from .joint import count_up
from .memory import copy_floats, get_int, keep_apart, raise_flag, read_flag
from .rows import lstm_cell
from .team import dense


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
    multiply_floats(task[f.INPUT0], PLAIN, gates, width, embedding, width, 1, out, gates)
    copy_floats(row, out, gates)
    raise_flag(task[f.READY], token)
    count_up(task, f.TABLE_ROWS, 1)


@inline
def _gather(task: Any, rows: int, m: int, source: int, layer: int) -> None:
    """Copy one layer's vectors of the listed utterances from `source` [B, L, H16] to GATHERED."""
    width, layers = task[f.HIDDEN], task[f.LAYERS]
    for i in range(m):
        at = source + 4 * (get_int(rows, i) * layers + layer) * width
        copy_floats(task[f.GATHERED] + 4 * i * width, at, width)


@inline
def run_predictor(task: Any, rows: int, m: int) -> None:
    """Feed the labels of `m` utterances listed at `rows` to the network: state before → state after, and PROJECTED."""
    keep_apart()
    layers, width, gates = task[f.LAYERS], task[f.HIDDEN], task[f.GATES]
    out = task[f.GATE_ROWS]
    for layer in range(layers):
        for i in range(m):
            if layer == 0:
                _input_gates(task, get_int(task[f.LABELS], get_int(rows, i)), out + 4 * i * gates)
            else:
                copy_floats(out + 4 * i * gates, task[f.BIAS] + 4 * layer * gates, gates)
        if layer > 0:
            _gather(task, rows, m, task[f.NEXT_HIDDEN], layer - 1)
            dense(task, layers + layer - 1, gates, width, task[f.GATHERED], m, out)
        _gather(task, rows, m, task[f.STATE_HIDDEN], layer)
        dense(task, layer, gates, width, task[f.GATHERED], m, out)
        for i in range(m):
            at = 4 * (get_int(rows, i) * layers + layer) * width
            cells = task[f.STATE_CELL] + at, task[f.NEXT_CELL] + at
            lstm_cell(out + 4 * i * gates, width, cells[0], cells[1], task[f.NEXT_HIDDEN] + at)
    _project(task, rows, m)


@inline
def _project(task: Any, rows: int, m: int) -> None:
    """Project the top layer's output for the joint."""
    layers, joint, out = task[f.LAYERS], task[f.JOINT], task[f.ACTIVATIONS]
    _gather(task, rows, m, task[f.NEXT_HIDDEN], layers - 1)
    for i in range(m):
        copy_floats(out + 4 * i * joint, task[f.PREDICTOR_BIAS], joint)
    dense(task, 2 * layers - 1, joint, task[f.HIDDEN], task[f.GATHERED], m, out)
    for i in range(m):
        copy_floats(task[f.PROJECTED] + 4 * get_int(rows, i) * joint, out + 4 * i * joint, joint)
