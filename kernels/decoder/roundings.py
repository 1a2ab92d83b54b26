"""Activations rounded to a few bits where a model's graphs round them, in compiled code.

A program is a row of float64: how many steps, then five numbers each. Nothing of this runs for models without any.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np

from ..vector.jit import inline
from ..vector.memory import get_double, get_float, get_int, keep_apart, set_float
from . import task as f

if TYPE_CHECKING:
    from collections.abc import Sequence

# Steps: add the vector at an address; scale, zero point, lowest and highest level; length of a block, largest level.
ADD, LEVELS, BLOCKS = 0, 1, 2
STEP_NUMBERS = 5
# Places in the table at the task's ROUNDINGS, each the address of a program or 0; from BY_LAYER on three a layer.
PROJECTED, PREDICTION, PREDICTED, ACTIVATION, LOGITS, DURATIONS, BY_LAYER = range(7)
INPUT, HIDDEN, CELL, LAYER_PLACES = 0, 1, 2, 3
_ROUNDER = np.float32(1.5 * 2**23)  # added and taken off again, it rounds to the nearest even whole number


def program(steps: Sequence[tuple[float, ...]]) -> Any:
    """Return a program of steps, each its kind and up to four numbers."""
    out = np.zeros(1 + STEP_NUMBERS * len(steps), np.float64)
    out[0] = len(steps)
    for number, step in enumerate(steps):
        at = 1 + STEP_NUMBERS * number
        out[at : at + len(step)] = step
    return out


@inline
def round_place(task: Any, place: int, x: int, n: int) -> None:
    """Put the `n` floats at `x` through the program of a place, where there is one."""
    if task[f.ROUNDINGS] != 0:
        at = get_int(task[f.ROUNDINGS], place)
        if at != 0:
            _run(at, x, n)


@inline
def _run(at: int, x: int, n: int) -> None:
    keep_apart()
    for number in range(int(get_double(at, 0))):
        step = at + 8 * (1 + STEP_NUMBERS * number)
        kind = int(get_double(step, 0))
        if kind == ADD:
            vector = int(get_double(step, 1))
            for i in range(n):
                set_float(x, i, get_float(x, i) + get_float(vector, i))
        elif kind == LEVELS:
            _to_levels(step, x, n)
        else:
            _to_blocks(int(get_double(step, 1)), np.float32(get_double(step, 2)), x, n)


@inline
def _to_levels(step: int, x: int, n: int) -> None:
    scale, zero = np.float32(get_double(step, 1)), np.float32(get_double(step, 2))
    low, high = np.float32(get_double(step, 3)) - zero, np.float32(get_double(step, 4)) - zero
    for i in range(n):
        level = get_float(x, i) / scale
        if level < low:  # as it stands, what is not a number stays so and is found
            level = low
        elif level > high:
            level = high
        set_float(x, i, ((level + _ROUNDER) - _ROUNDER) * scale)


@inline
def _to_blocks(block: int, levels: Any, x: int, n: int) -> None:
    for start in range(0, n, block):
        stop, largest = min(start + block, n), np.float32(0)
        for i in range(start, stop):
            largest = max(largest, abs(get_float(x, i)))
        if largest > np.float32(0) and largest < np.float32(inf):
            inverse, scale = levels / largest, largest / levels
            for i in range(start, stop):
                set_float(x, i, ((get_float(x, i) * inverse + _ROUNDER) - _ROUNDER) * scale)
