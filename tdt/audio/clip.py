"""One clip in memory: mono float32 samples at 16 kHz."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tdt.audio.resampling import resampled, resampled_length
from tdt.errors import AudioReadError, AudioTooShortError
from tdt.spec import HOP_SAMPLES, SAMPLE_RATE_HZ
from tdt.timeline import NULL

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from tdt.timeline import Recorder

    Float32 = npt.NDArray[np.float32]

# 4 GiB of float32, 18 hours at 16 kHz: a small file may unpack to any size.
MAX_SAMPLES = 1 << 30


@dataclass(frozen=True, slots=True)
class Audio:
    """One clip, ready for the features.

    Parameters
    ----------
    samples : ndarray [shape=(n,)], float32, read-only
        16 kHz, mono, full scale at -1..1. A CuPy array where the source lies on a CUDA device.
    seconds : float
        Length of the source.
    """

    samples: Float32
    seconds: float


def as_audio(parts: Iterable[tuple[int, Float32]], name: str, timeline: Recorder = NULL) -> Audio:
    """Return samples [each shape=(n,)] of one rate or several, in order, as one clip.

    Raises
    ------
    AudioReadError
        There are too many.
    AudioTooShortError
        Fewer than 160 samples at 16 kHz.
    """
    made: list[Float32] = []
    seconds, total = 0.0, 0
    for rate_hz, samples in parts:
        seconds += len(samples) / rate_hz
        total += resampled_length(len(samples), rate_hz)
        if max(total, len(samples)) > MAX_SAMPLES:
            raise too_large(name)
        if rate_hz == SAMPLE_RATE_HZ:
            made.append(samples)
        elif len(samples):
            with timeline.span("resample"):
                made.append(resampled(samples, rate_hz))
    whole = made[0] if len(made) == 1 else np.concatenate([np.zeros(0, np.float32), *made])
    if len(whole) < HOP_SAMPLES:
        raise AudioTooShortError(name, len(whole), SAMPLE_RATE_HZ)
    whole = whole.view()
    whole.flags.writeable = False
    return Audio(whole, seconds)


def too_large(name: str) -> AudioReadError:
    """Return the error for what is more than a clip."""
    return AudioReadError(
        f"{name} unpacks to more than {MAX_SAMPLES} samples a channel, 18 hours at 16 kHz; less was expected. "
        "Cut it into pieces."
    )
