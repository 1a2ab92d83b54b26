"""Clips that are transcribed in one piece."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tdt.spec import SAMPLE_RATE_HZ
from tdt.text import build

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.errors import AudioTailError
    from tdt.spec import ModelSpec
    from tdt.stages import Float32, Hypothesis
    from tdt.text import ConfidenceLike, Transcript


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip that has been read: place and name, mono 16 kHz samples, its length, and where it broke off."""

    index: int
    name: str
    samples: Float32
    seconds: float
    problem: AudioTailError | None = None


def texts(
    clips: Sequence[Clip], hypotheses: Sequence[Hypothesis], spec: ModelSpec, confidence: ConfidenceLike
) -> list[Transcript]:
    """Return the transcripts of whole clips, what short ones were padded with taken off."""
    from tdt.encoding import short_padding

    paddings = [short_padding(len(clip.samples)) for clip in clips]
    return [
        build(
            hypothesis,
            spec,
            audio_seconds=clip.seconds,
            confidence=confidence,
            left_pad=left / SAMPLE_RATE_HZ,
            clamp=right > 0,
        )
        for hypothesis, clip, (left, right) in zip(hypotheses, clips, paddings, strict=True)
    ]
