"""The prediction network (LSTM) in compiled code, run for the utterances that emitted a token."""

from __future__ import annotations

from typing import Any

from ..vector.jit import inline
from ..vector.memory import copy_floats, get_int, keep_apart
from . import task as f
from .recurrence import KEPT, TOKEN, finish_layer, round_states, stage_row
from .roundings import PREDICTED, round_place
from .team import dense


@inline
def run_predictor(task: Any, rows: int, m: int) -> None:
    """Feed the labels of `m` utterances listed at `rows` to the network: state before → state after, and PROJECTED."""
    keep_apart()
    layers, width, gates = task[f.LAYERS], task[f.HIDDEN], task[f.GATES]
    x, out, joint = task[f.GATHERED], task[f.GATE_ROWS], task[f.JOINT]
    for layer in range(layers):
        if layer > 0:
            dense(task, layers + layer - 1, gates, width, x, m, out)
        for i in range(m):
            before = get_int(task[f.SOURCES], get_int(rows, i))
            stage_row(task, rows, i, before, layer, task[f.STATE_HIDDEN], TOKEN if layer == 0 else KEPT)
        dense(task, layer, gates, width, x, m, out)
        for i in range(m):
            finish_layer(task, rows, i, layer)
    projected = task[f.ACTIVATIONS]
    dense(task, 2 * layers - 1, joint, width, x, m, projected)
    for i in range(m):
        round_place(task, PREDICTED, projected + 4 * i * joint, joint)
        round_states(task, get_int(rows, i))
        copy_floats(task[f.PROJECTED] + 4 * get_int(rows, i) * joint, projected + 4 * i * joint, joint)
