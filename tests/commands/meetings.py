"""Recordings of several clips, with pauses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import soundfile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PAUSE = np.zeros(12_000, np.float32)


def meeting_of(golden_folder: Path, names: Sequence[str], folder: Path) -> Path:
    """Write golden clips one after the other, a pause behind each, and return the file."""
    clips = [soundfile.read(golden_folder / f"{name}.flac", dtype="float32")[0] for name in names]
    path = folder / "meeting.flac"
    soundfile.write(path, np.concatenate([part for clip in clips for part in (clip, PAUSE)]), 16000)
    return path
