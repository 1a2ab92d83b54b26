"""The joint's encoder projection in compiled code, for all frames of a run."""

from __future__ import annotations

from typing import Any

from ..vector.jit import inline
from ..vector.memory import copy_floats, keep_apart, ticks
from . import task as f
from .buffers import FRAME_BLOCK
from .counters import count_up
from .dense import ZERO, quantize_vectors
from .roundings import PROJECTED, round_place
from .team import dense


@inline
def project_frames(task: Any) -> None:
    """Put the ENCODER_ROWS rows of ENCODER_FRAMES through the joint's encoder projection to FRAMES, block by block."""
    keep_apart()
    started = ticks()
    joint, width = task[f.JOINT], task[f.ENCODER]
    for start in range(0, task[f.ENCODER_ROWS], FRAME_BLOCK):
        count_up(task, f.PROJECTION_BLOCKS, 1)
        count = min(FRAME_BLOCK, task[f.ENCODER_ROWS] - start)
        out = task[f.FRAMES] + 4 * start * joint
        for row in range(count):
            copy_floats(out + 4 * row * joint, task[f.ENCODER_BIAS], joint)
        frames = task[f.ENCODER_FRAMES] + 4 * start * width
        if task[f.QUANTIZED] != 0:
            quantize_vectors(task, frames, width, ZERO, count)
        dense(task, 2 * task[f.LAYERS], joint, width, frames, count, out)
        for row in range(count):
            round_place(task, PROJECTED, out + 4 * row * joint, joint)
    count_up(task, f.PROJECTION_TICKS, ticks() - started)
