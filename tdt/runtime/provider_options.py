"""Options of the execution providers, built from a backend; pure, so that tests see every key and value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tdt.errors import AudioTooLongError
from tdt.runtime.backend import BATCH_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tdt.runtime.backend import Backend
    from tdt.spec import ModelSpec

Shape = tuple[int, ...]

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
TENSORRT_RTX = "NvTensorRTRTXExecutionProvider"
EXECUTION_PROVIDERS = {"cpu": CPU, "cuda": CUDA, "tensorrt": TENSORRT, "tensorrt-rtx": TENSORRT_RTX}

_MEL_FRAMES_PER_SECOND = 100
_SHORTEST_MEL_FRAMES = 16


@dataclass(frozen=True, slots=True)
class ShapeProfile:
    """Shapes that a TensorRT engine serves: the smallest, the one it is tuned for, the largest, by input.

    Parameters
    ----------
    least, usual, most : dict of str to tuple of int
        Every dynamic input is named in all three.
    """

    least: dict[str, Shape]
    usual: dict[str, Shape]
    most: dict[str, Shape]

    @property
    def max_batch(self) -> int:
        """Largest batch."""
        return next(iter(self.most.values()))[0]

    @property
    def max_mel_frames(self) -> int:
        """Longest utterance, in mel frames."""
        return next(iter(self.most.values()))[2]

    @property
    def min_mel_frames(self) -> int:
        """Shortest utterance, in mel frames."""
        return next(iter(self.least.values()))[2]

    def check_length(self, mel_frames: int) -> None:
        """Refuse an utterance longer than the engine was built for: it would be rebuilt, silently, for minutes.

        Raises
        ------
        AudioTooLongError
        """
        if mel_frames > self.max_mel_frames:
            seconds, limit = mel_frames / _MEL_FRAMES_PER_SECOND, self.max_mel_frames / _MEL_FRAMES_PER_SECOND
            raise AudioTooLongError(
                f"An utterance of {mel_frames} mel frames ({seconds:.1f} s) exceeds the {self.max_mel_frames} frames "
                f"({limit:.1f} s) that the TensorRT engine is built for. Cut the recording into shorter pieces, or "
                f"build for longer ones: tensorrt:0,max_seconds={seconds:.0f}."
            )


def encoder_profile(inputs: Sequence[str], spec: ModelSpec, backend: Backend) -> ShapeProfile:
    """Return the shapes of an encoder for the batches and lengths that a backend is asked to serve.

    Parameters
    ----------
    inputs : sequence of str
        Names of the features and of the lengths.
    spec : ModelSpec
    backend : Backend
        `max_batch`, `max_seconds`, `opt_batch`, `opt_seconds` and `engines` count.
    """
    features, lengths = inputs
    most = int(backend.max_seconds * _MEL_FRAMES_PER_SECOND) + 1
    if spec.max_encoder_frames is not None:
        most = min(most, spec.max_encoder_frames * spec.subsampling)
    most = max(most, _SHORTEST_MEL_FRAMES)
    batch, usual = max(1, backend.max_batch // 2), most // 2
    if backend.engines > 1:  # single clips have their own
        batch, usual = backend.max_batch, int(BATCH_SECONDS * _MEL_FRAMES_PER_SECOND) + 1
    if backend.opt_seconds:
        usual = int(backend.opt_seconds * _MEL_FRAMES_PER_SECOND) + 1
    usual = min(max(usual, _SHORTEST_MEL_FRAMES), most)
    batch = min(backend.opt_batch or batch, backend.max_batch)
    shapes = ((1, _SHORTEST_MEL_FRAMES), (batch, usual), (backend.max_batch, most))
    least, middle, largest = ({features: (batch, spec.n_mels, frames), lengths: (batch,)} for batch, frames in shapes)
    return ShapeProfile(least, middle, largest)


def shape_text(shapes: dict[str, Shape]) -> str:
    """Return shapes as TensorRT's options have them: `audio_signal:1x128x16,length:1`."""
    return ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in shapes.items())


def cuda_options(backend: Backend) -> dict[str, str]:
    """Return the CUDA provider's options.

    Convolutions are chosen by heuristics: a search would start anew at every change of shape, as the plans do.

    The arena grows by doubling, up to 1 GiB at a time. Growing by what is asked for leaves regions that never join:
    over lengths that ascend from 2 to 40 s the bundled model came to hold 378 MB where the longest alone needs 71 MB,
    against 97 MB in any order with doubling; the shapes of parakeet-tdt-0.6b-v3, weights included, 3612 against
    3074 MB (counted with the provider's own arena over a runtime that does nothing).
    """
    options = {
        "device_id": str(backend.device_id),
        "arena_extend_strategy": "kNextPowerOfTwo",
        "cudnn_conv_algo_search": "HEURISTIC",
        "do_copy_in_default_stream": "1",
        "use_tf32": str(int(backend.tf32)),
    }
    if backend.graphs:
        options["enable_cuda_graph"] = "1"
    if backend.memory_bytes:
        options["gpu_mem_limit"] = str(backend.memory_bytes)
    return options | _stream_options(backend)


def tensorrt_options(backend: Backend, profile: ShapeProfile | None, cache: Path | None) -> dict[str, str]:
    """Return the TensorRT provider's options (TensorRT 10 through ONNX Runtime's classic provider).

    Parameters
    ----------
    backend : Backend
    profile : ShapeProfile or None
        None for a graph of fixed shapes.
    cache : Path or None
        Folder of this engine, beside which the timing cache lies; None keeps nothing.
    """
    options = {
        "device_id": str(backend.device_id),
        "trt_engine_cache_enable": str(int(cache is not None)),
        "trt_timing_cache_enable": str(int(cache is not None)),
        "trt_builder_optimization_level": str(backend.level),
        # int8 alone would leave everything between Q/DQ pairs in float32.
        "trt_fp16_enable": str(int(backend.numbers in ("fp16", "int8"))),
        "trt_bf16_enable": str(int(backend.numbers == "bf16")),
        "trt_int8_enable": str(int(backend.numbers == "int8")),
    }
    if cache is not None:
        options |= {"trt_engine_cache_path": str(cache), "trt_timing_cache_path": str(cache.parent)}
    if backend.memory_bytes:
        options["trt_max_workspace_size"] = str(backend.memory_bytes)
    if profile is not None:
        options["trt_profile_min_shapes"] = shape_text(profile.least)
        options["trt_profile_opt_shapes"] = shape_text(profile.usual)
        options["trt_profile_max_shapes"] = shape_text(profile.most)
    return options | _stream_options(backend)


def tensorrt_rtx_options(backend: Backend, profile: ShapeProfile | None, cache: Path | None) -> dict[str, str]:
    """Return the TensorRT-RTX plugin's options; the device is chosen by the registered device, not by a key.

    The plugin takes a stream from 0.5 on, which would serve buffers on the card; here they lie on the host, and each
    run waits.
    """
    options = {} if cache is None else {"nv_runtime_cache_path": str(cache)}
    if backend.memory_bytes:
        options["nv_max_workspace_size"] = str(backend.memory_bytes)
    if profile is not None:
        options["nv_profile_min_shapes"] = shape_text(profile.least)
        options["nv_profile_opt_shapes"] = shape_text(profile.usual)
        options["nv_profile_max_shapes"] = shape_text(profile.most)
    return options


def _stream_options(backend: Backend) -> dict[str, str]:
    if not backend.stream:
        return {}
    return {"has_user_compute_stream": "1", "user_compute_stream": str(backend.stream)}
