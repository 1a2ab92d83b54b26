"""The constants of NeMo's log-mel spectrogram (AudioToMelSpectrogramPreprocessor, FilterbankFeatures)."""

from __future__ import annotations

from typing import Literal

from .filterbank import HOP_SAMPLES

Edges = Literal["constant", "reflect"]

PREEMPHASIS = 0.97
LOG_GUARD = 2.0**-24
STD_GUARD = 1e-5


def valid_frames(samples: int, edges: Edges) -> int:
    """Return the frames that count: N // 160 since NeMo 2.5 ("constant"), one more until 2.4 ("reflect")."""
    return samples // HOP_SAMPLES + (edges == "reflect" and samples > 0)
