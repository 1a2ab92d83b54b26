"""A recognizer, and a recording that is joined from clips."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

import tdt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLIPS = ("15_hello_world", "06_digits_theo", "03_flite-rms")


@pytest.fixture(scope="module")
def asr() -> Iterator[tdt.Recognizer]:
    with tdt.load() as recognizer:
        yield recognizer


@pytest.fixture(scope="module")
def clips(golden_folder: Path) -> list[np.ndarray]:
    return [soundfile.read(golden_folder / f"{name}.flac", dtype="float32")[0] for name in CLIPS]


@pytest.fixture(scope="module")
def joined(clips: list[np.ndarray]) -> np.ndarray:
    """The three clips twice, with pauses of 1 s: 31 s."""
    pause = np.zeros(16000, np.float32)
    return np.concatenate([part for clip in clips * 2 for part in (clip, pause)])
