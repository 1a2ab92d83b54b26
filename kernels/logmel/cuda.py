"""The CUDA kernels, called on CuPy arrays: compiled once a device, launched on the caller's current stream.

CuPy is imported only when a function here is called. Nothing here waits for the device, and nothing is copied to the
host.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from . import filterbank as banks
from .definition import LOG_GUARD, STD_GUARD, Edges
from .mel_cpu import tables

SOURCES = Path(__file__).parent
FRAME_THREADS = 128
THREADS = 256  # SUMS in features.cu
TILE = 16  # in features.cu


@cache
def _module(source: str, device: int) -> Any:  # noqa: ARG001  # a module belongs to a device
    import cupy

    return cupy.RawModule(code=(SOURCES / source).read_text(encoding="utf-8"), options=("--std=c++14",))


def kernel(source: str, name: str) -> Any:
    """Return a kernel of a source file, compiled for the current device."""
    import cupy

    return _module(source, cupy.cuda.runtime.getDevice()).get_function(name)


@cache
def _constants(n_mels: int, device: int) -> tuple[Any, Any, Any]:  # noqa: ARG001
    """Return window, weights and bands on the current device."""
    import cupy

    made = tables(n_mels)
    return cupy.asarray(made.window), cupy.asarray(made.weights), cupy.asarray(made.bands)


def features(
    waveforms: Any, lengths: Any, valid: Any, n_mels: int, *, normalize: bool = True, edges: Edges = "constant"
) -> Any:
    """Compute log-mel features of a batch on its device.

    Parameters
    ----------
    waveforms : cupy.ndarray [shape=(B, N)], float32, contiguous
        16 kHz; samples beyond an utterance's length are not looked at.
    lengths : cupy.ndarray [shape=(B,)], int64
        Samples of each utterance.
    valid : cupy.ndarray [shape=(B,)], int64
        Frames of each utterance that count.
    n_mels : int
    normalize : bool, optional
        Whether to normalise each band over its valid frames.
    edges : {"constant", "reflect"}, optional
        See :func:`.definition.valid_frames`.

    Returns
    -------
    cupy.ndarray [shape=(B, n_mels, N // 160 + 1)], float32
        Zero at and beyond an utterance's valid frames.
    """
    import cupy

    window, weights, bands = _constants(n_mels, cupy.cuda.runtime.getDevice())
    batch, samples = waveforms.shape
    count = samples // banks.HOP_SAMPLES + 1
    if batch == 0:
        return cupy.zeros((0, n_mels, count), np.float32)
    frames = cupy.empty((batch, count, banks.N_FFT), np.float32)
    kernel("features.cu", "window_frames")(
        (count, batch),
        (FRAME_THREADS,),
        (waveforms, lengths, window, np.int64(samples), np.int32(edges == "reflect"), frames),
    )
    spectra = cupy.fft.rfft(frames)
    energies = cupy.empty((batch, n_mels, count), np.float32)
    kernel("features.cu", "log_mel")(
        (-(-count // TILE), batch),
        (THREADS,),
        (spectra, weights, bands, np.int32(n_mels), np.int32(count), np.float32(LOG_GUARD), energies),
    )
    kernel("features.cu", "normalize")(
        (n_mels, batch), (THREADS,), (energies, valid, np.int32(count), np.int32(normalize), np.float64(STD_GUARD))
    )
    return energies
