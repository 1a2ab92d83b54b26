"""The mel filterbank and window of the Parakeet models."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]

SAMPLE_RATE_HZ = 16000
N_FFT = 512
N_BINS = N_FFT // 2 + 1
WINDOW_SAMPLES = 400
HOP_SAMPLES = 160

# Written by tools/make_filterbanks.py; importing librosa takes longer than transcribing a clip.
STORED = Path(__file__).with_name("filterbanks.npz")


@cache
def mel_filterbank(n_mels: int) -> Float32:
    """Return librosa's mel filterbank (Slaney scale and norm, 0 to 8000 Hz).

    Parameters
    ----------
    n_mels : int
        Mel bands; 80 and 128 are stored beside this file, librosa computes any other number.

    Returns
    -------
    ndarray [shape=(n_mels, 257)], float32, read-only
    """
    with np.load(STORED, allow_pickle=False) as stored:
        known = cast("Float32 | None", stored.get(str(n_mels)))
    bank = compute_filterbank(n_mels) if known is None else known
    bank.flags.writeable = False
    return bank


def compute_filterbank(n_mels: int) -> Float32:
    """Compute with librosa what :func:`mel_filterbank` returns."""
    try:
        from librosa.filters import mel
    except RuntimeError:  # it insists on keeping what it compiles, and finds no folder that can be written to
        from ..vector.code_cache import somewhere_to_keep

        with somewhere_to_keep():
            from librosa.filters import mel

    bank = mel(sr=SAMPLE_RATE_HZ, n_fft=N_FFT, n_mels=n_mels, fmin=0, fmax=SAMPLE_RATE_HZ / 2, htk=False, norm="slaney")
    return cast("Float32", np.asarray(bank, np.float32))


@cache
def hann_window() -> Float32:
    """Return the symmetric Hann window [shape=(400,)], float32, read-only."""
    phase = 2 * np.pi * np.arange(WINDOW_SAMPLES) / (WINDOW_SAMPLES - 1)
    window = (0.5 - 0.5 * np.cos(phase)).astype(np.float32)
    window.flags.writeable = False
    return window
