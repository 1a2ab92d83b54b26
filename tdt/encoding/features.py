"""Log-mel features, exactly NeMo's: from samples to what the encoder takes."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from tdt.cuda_arrays import as_cupy, enqueue_on, on_device, require_cupy
from tdt.dependencies import require_compiler
from tdt.errors import AudioTooShortError, AudioValueError, OptionError
from tdt.lifetime import Bound, setting_up
from tdt.spec import HOP_SAMPLES, SAMPLE_RATE_HZ
from tdt.stages import Features
from tdt.timeline import NULL

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tdt.kernels.logmel.mel_cpu import LogMel
    from tdt.runtime import WorkQueue
    from tdt.timeline import Clock, Recorder

    Float32 = npt.NDArray[np.float32]

Edges = Literal["constant", "reflect"]

_log = logging.getLogger("tdt")
_COMPILE_NOTICE_SECONDS = 1.0
_COMPILE_NOTICE = "compiling the features for this processor (once; it is kept on disk)"


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
    left, right = short_padding(len(samples))
    return (np.pad(samples, (left, right)) if right else samples), left


def short_padding(count: int) -> tuple[int, int]:
    """Return how many zeros :func:`pad_short` puts before and after a clip of `count` samples."""
    missing = max(0, SAMPLE_RATE_HZ - count)
    return missing // 2, missing - missing // 2


class FeatureExtractor(Bound):
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
        self._log_mel: LogMel | None = None
        self._lock = threading.Lock()

    def __call__(
        self,
        batch: Sequence[Any],
        timeline: Recorder = NULL,
        *,
        device: int | None = None,
        queue: WorkQueue | None = None,
    ) -> Features:
        """Compute the features of a batch; each utterance gets the numbers that it gets alone.

        Parameters
        ----------
        batch : sequence of ndarray [shape=(n,)], float32
            16 kHz mono clips of at least 160 samples; never padded here. Where one of them lies on a CUDA device (a
            CuPy array, or any that speaks DLPack), the features are computed there.
        timeline : Recorder, optional
            Receives the span "features"; and once a process "compile", for the CPU's code.
        device : int, optional
            Bring host clips to this CUDA device and compute there.
        queue : WorkQueue, optional
            Compute on its stream, after what the caller has enqueued so far; on the current CuPy stream without, or
            where the clips lie on another device.

        Returns
        -------
        Features
            frames [shape=(B, n_mels, longest // 160 + 1)], float32: a CuPy array where they were computed on a device;
            the lengths are always on the host.

        Raises
        ------
        AudioTooShortError, AudioValueError
            A clip that cannot be used.
        MissingDependencyError
            A device is wanted and CuPy is not installed.
        """
        if device is not None or any(on_device(clip) for clip in batch):
            return self._on_device(batch, timeline, device, queue)
        clips = [_checked(clip, index) for index, clip in enumerate(batch)]
        for index, clip in enumerate(clips):
            if not np.isfinite(clip).all():
                raise _not_finite(index)
        compute = self._compiled(timeline)
        with timeline.span("features"):
            return Features(*compute(clips))

    def _compiled(self, timeline: Recorder) -> LogMel:
        """Return the CPU's code, compiled or fetched from the disk outside the span; say so where it takes long."""
        if self._log_mel is not None:
            return self._log_mel
        notice = threading.Timer(_COMPILE_NOTICE_SECONDS, _log.info, (_COMPILE_NOTICE,))
        notice.daemon = True
        with timeline.span("compile"), setting_up(), self._lock:
            notice.start()
            try:
                require_compiler()
                from tdt.kernels.logmel.mel_cpu import LogMel

                made = LogMel(self.n_mels, self.normalize, self.edges)
                made([np.zeros(HOP_SAMPLES, np.float32)])
            finally:
                notice.cancel()
            self._log_mel = made
        return made

    def _on_device(
        self, batch: Sequence[Any], timeline: Recorder, device: int | None, queue: WorkQueue | None
    ) -> Features:
        from tdt.runtime import quiet

        cupy = require_cupy()
        if device is None:
            device = next(as_cupy(clip).device.id for clip in batch if on_device(clip))
        clock: Clock = "host" if timeline is NULL else "host+sync"
        stream = queue.pointer if queue is not None and queue.device_id == device else 0
        span = timeline.span("features", clock=clock)
        # Quiet, since the encoder may be about to capture a run on the same stream in another thread.
        with quiet.work(), cupy.cuda.Device(device), enqueue_on(stream, device), span:
            from tdt.kernels.logmel import cuda
            from tdt.kernels.logmel.definition import valid_frames

            clips = [_checked(as_cupy(clip) if on_device(clip) else clip, i) for i, clip in enumerate(batch)]
            counts = np.array([len(clip) for clip in clips], np.int64)
            valid = np.array([valid_frames(int(count), self.edges) for count in counts], np.int64)
            waveforms = _stacked(clips, cupy)
            frames = cuda.features(
                waveforms,
                cupy.asarray(counts),
                cupy.asarray(valid),
                self.n_mels,
                normalize=self.normalize == "per_feature",
                edges=self.edges,
            )
            # The one wait of this stage: after the launches, so that the device is never idle.
            finite = cupy.asnumpy(cupy.isfinite(waveforms).all(axis=1))
        if not finite.all():
            raise _not_finite(int(np.argmin(finite)))
        return Features(frames, valid)


def _stacked(clips: list[Any], cupy: Any) -> Any:
    """Return clips as one array on the device, zeros after their ends; a single one that lies there is not copied."""
    if len(clips) == 1:
        return cupy.asarray(clips[0])[None]
    waveforms = cupy.zeros((len(clips), max(map(len, clips), default=0)), np.float32)
    for row, clip in enumerate(clips):
        waveforms[row, : len(clip)] = cupy.asarray(clip)
    return waveforms


def _not_finite(index: int) -> AudioValueError:
    return AudioValueError(
        f"Clip {index} of the batch holds NaN or infinite samples; finite ones are expected. Repair the recording."
    )


def _checked(clip: Any, index: int) -> Float32:
    name = f"Clip {index} of the batch"
    samples = clip if on_device(clip) else np.asarray(clip)
    if samples.ndim != 1 or samples.dtype not in {np.dtype(np.float32), np.dtype(np.float64)}:
        raise AudioValueError(
            f"{name} is {samples.dtype} of shape {samples.shape}; float32 samples [n], 16 kHz mono, are expected. "
            "Load it with tdt.audio.loading.load_audio."
        )
    if len(samples) < HOP_SAMPLES:
        raise AudioTooShortError(name, len(samples), SAMPLE_RATE_HZ)
    plain = samples.flags.c_contiguous and (on_device(samples) or samples.flags.aligned)
    return cast("Float32", (samples if plain else samples.copy()).astype(np.float32, copy=False))
