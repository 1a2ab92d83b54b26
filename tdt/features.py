"""Log-mel features, exactly NeMo's: from samples to what the encoder takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tdt.errors import AudioTooShortError, AudioValueError, OptionError
from tdt.spec import HOP_SAMPLES, SAMPLE_RATE_HZ
from tdt.stages import Features
from tdt.timeline import NULL

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tdt.timeline import Recorder

    Float32 = npt.NDArray[np.float32]

Edges = Literal["constant", "reflect"]


def pad_short(samples: Float32) -> tuple[Float32, int]:
    """Pad a clip shorter than 1.0 s with zeros on both sides, as NeMo's `transcribe` does (pad_min_duration 1.0).

    Parameters
    ----------
    samples : ndarray [shape=(n,)], float32
        16 kHz.

    Returns
    -------
    samples : ndarray [shape=(max(n, 16000),)], float32
    left_pad_samples : int
        Half of the padding, rounded down.
    """
    missing = SAMPLE_RATE_HZ - len(samples)
    if missing <= 0:
        return samples, 0
    left = missing // 2
    return np.pad(samples, (left, missing - left)), left


class FeatureExtractor:
    """Turns batches of samples into normalised log-mel features; one object serves any number of threads.

    Parameters
    ----------
    n_mels : int
        Mel bands: 128 for the 0.6b models, 80 for the others.
    normalize : {"per_feature", "none"}
        Normalisation over time, as the model was trained.
    edges : {"constant", "reflect"}
        "constant" is NeMo 2.5 and later (zeros beyond the ends, N // 160 valid frames); "reflect" is NeMo up to 2.4
        (mirrored ends, N // 160 + 1 valid frames).

    Raises
    ------
    OptionError
        An argument out of range.
    """

    def __init__(
        self, n_mels: int, normalize: Literal["per_feature", "none"] = "per_feature", edges: Edges = "constant"
    ) -> None:
        if not isinstance(n_mels, int) or not 1 <= n_mels <= 257:
            raise OptionError("n_mels", n_mels, "a number of mel bands from 1 to 257")
        if normalize not in {"per_feature", "none"}:
            raise OptionError("normalize", normalize, "'per_feature' or 'none'")
        if edges not in {"constant", "reflect"}:
            raise OptionError("edges", edges, "'constant' (NeMo 2.5 and later) or 'reflect' (up to 2.4)")
        self.n_mels = n_mels
        self.normalize = normalize
        self.edges: Edges = edges

    def __call__(self, batch: Sequence[Float32], timeline: Recorder = NULL) -> Features:
        """Compute the features of a batch; each utterance gets the numbers that it gets alone.

        Parameters
        ----------
        batch : sequence of ndarray [shape=(n,)], float32
            16 kHz mono clips of at least 160 samples; never padded here.
        timeline : Recorder, optional
            Receives the span "features".

        Returns
        -------
        Features
            frames [shape=(B, n_mels, longest // 160 + 1)].

        Raises
        ------
        AudioTooShortError, AudioValueError
            A clip that cannot be used.
        """
        clips = [_checked(clip, index) for index, clip in enumerate(batch)]
        with timeline.span("features"):
            return self._compute(clips)

    def _compute(self, clips: list[Float32]) -> Features:
        from tdt.kernels.mel_cpu import LogMel

        return Features(*LogMel(self.n_mels, self.normalize, self.edges)(clips))


def _checked(clip: Any, index: int) -> Float32:
    name = f"Clip {index} of the batch"
    samples = np.asarray(clip)
    if samples.ndim != 1 or samples.dtype not in {np.dtype(np.float32), np.dtype(np.float64)}:
        raise AudioValueError(
            f"{name} is {samples.dtype} of shape {samples.shape}; float32 samples [n], 16 kHz mono, are expected. "
            "Load it with tdt.audio.load_audio."
        )
    if len(samples) < HOP_SAMPLES:
        raise AudioTooShortError(name, len(samples), SAMPLE_RATE_HZ)
    if not np.isfinite(samples).all():
        raise AudioValueError(f"{name} holds NaN or infinite samples; finite ones are expected. Repair the recording.")
    return np.ascontiguousarray(samples, np.float32)
