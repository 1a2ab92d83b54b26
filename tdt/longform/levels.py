"""How loud frames are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]

FRAME_SAMPLES = 512  # 32 ms, what the detector was trained on


def levels(frames: Float32) -> Float32:
    """Return the level of each frame [shape=(n, samples)] in dB over full scale; -150 for digital silence."""
    power = np.einsum("ij,ij->i", frames, frames) / np.float32(frames.shape[1])
    decibels: Float32 = 10 * np.log10(power + np.float32(1e-15))
    return decibels


def loudest(level_db: Float32) -> float:
    """Return the level that one frame of twenty exceeds."""
    return float(np.percentile(level_db, 95))
