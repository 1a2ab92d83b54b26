"""The end of a long clip: what a device loses that works lengths out in too few bits.

Exports make their masks of lengths in floating point. Bfloat16 holds whole numbers up to 256 and float16 up to 2048:
beyond, up to three encoder frames are lost, and with them the last word. The bundled recordings are too short for
that, so they are joined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tdt.cuda_arrays import fetched
from tdt.doctor.report import Check, Measured
from tdt.errors import AudioTooLongError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from tdt.recognizer import Recognizer

    Float32 = npt.NDArray[np.float32]

# 21.61 s: an encoder length of 271, which the arithmetic of exports makes 268 in bfloat16 and 270 in float16.
MEL_FRAMES = 2161
_NAME = "end of a long clip"
# Of each frame of the last second. Measured on the bundled model: a mask one frame short leaves 0.65 in the worst.
LEAST_COSINE = {"fp32": 0.9999, "tf32": 0.999, "fp16": 0.99, "bf16": 0.95, "int8": 0.85}


def long_clip(clips: Sequence[Path]) -> Float32:
    """Return recordings one after another, as often as needed, cut at the start: the end is that of the last one."""
    from tdt.audio import load_audio
    from tdt.spec import HOP_SAMPLES

    wanted = MEL_FRAMES * HOP_SAMPLES
    once = np.concatenate([load_audio(clip).samples for clip in clips])
    return np.ascontiguousarray(np.tile(once, -(-wanted // len(once)))[-wanted:])


def last_second(asr: Recognizer, clips: Sequence[Path]) -> Float32 | None:
    """Return the encoder frames [T', D] of the last second of a long clip; None where an engine takes none so long."""
    try:
        encoded = asr.encode(asr.features([long_clip(clips)]))
    except AudioTooLongError:
        return None
    host = fetched(encoded.frames)
    length = int(encoded.lengths[0])
    return np.array(host[0, length - round(1.0 / asr.spec.frame_seconds) : length], np.float32)


def ending_checks(measured: Measured, reference: Measured) -> tuple[Check, ...]:
    """Compare the end of the long clip with the CPU's, frame by frame."""
    ours, theirs = measured.ending, reference.ending
    if theirs is None:
        return ()
    if ours is None:
        return (Check(_NAME, True, "not compared: longer than the engine takes"),)
    if ours.shape != theirs.shape:
        return (Check(_NAME, False, f"frames of shape {ours.shape}, on the CPU {theirs.shape}"),)
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines = (a * b).sum(axis=1) / np.maximum(norms, 1e-30)
    worst = int(np.argmin(np.nan_to_num(cosines, nan=-1.0)))
    least = LEAST_COSINE[measured.numbers]
    found = f"cosine {cosines[worst]:.6f} in frame {worst + 1} of {len(a)}, at least {least:g} wanted"
    return (Check(_NAME, bool(cosines[worst] >= least), found),)
