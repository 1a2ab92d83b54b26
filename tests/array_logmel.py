"""NeMo's log-mel spectrogram and normalisation for any array library: the definition that the fast code is held to.

Only functions of the Python array API standard are used, so NumPy, CuPy and strict implementations run it unchanged.
The compiled code is some 20 times as fast, so no user would choose this one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdt.kernels.logmel.definition import LOG_GUARD, PREEMPHASIS, STD_GUARD
from tdt.kernels.logmel.filterbank import HOP_SAMPLES, N_FFT, WINDOW_SAMPLES

if TYPE_CHECKING:
    from tdt.kernels.logmel.definition import Edges


def log_mel(waveforms: Any, lengths: Any, window: Any, filterbank: Any, *, xp: Any, edges: Edges = "constant") -> Any:
    """Compute log-mel energies; frames beyond an utterance's length hold what its zero padding gives.

    Parameters
    ----------
    waveforms : array [shape=(B, N)], float32
        16 kHz; samples at and beyond an utterance's length are zero.
    lengths : array [shape=(B,)], int64
        Samples of each utterance.
    window : array [shape=(400,)], float32
    filterbank : array [shape=(n_mels, 257)], float32
    xp : array namespace
        NumPy, CuPy, or any library of the array API standard; all arrays are its own.
    edges : {"constant", "reflect"}
        What lies beyond both ends of an utterance: zeros (NeMo 2.5 and later) or its mirror image (up to 2.4).

    Returns
    -------
    array [shape=(B, n_mels, N // 160 + 1)], float32
    """
    emphasised = preemphasize(waveforms, lengths, xp=xp)
    frames = frame(emphasised, lengths, xp=xp, edges=edges)
    # 400 samples at the start of 512 instead of in their middle: another phase, the same power.
    spectrum = xp.fft.rfft(frames * window, n=N_FFT)
    power = xp.real(spectrum) ** 2 + xp.imag(spectrum) ** 2
    energies = xp.matmul(power, xp.matrix_transpose(filterbank))
    return xp.matrix_transpose(xp.log(energies + LOG_GUARD))


def preemphasize(waveforms: Any, lengths: Any, *, xp: Any) -> Any:
    """Return x[n] - 0.97 x[n - 1], the first sample kept, and zeros beyond the length."""
    positions = xp.arange(waveforms.shape[1], dtype=xp.int64)
    emphasised = xp.concat([waveforms[:, :1], waveforms[:, 1:] - PREEMPHASIS * waveforms[:, :-1]], axis=1)
    inside = positions[None, :] < lengths[:, None]
    return xp.where(inside, emphasised, xp.zeros_like(emphasised))


def frame(signals: Any, lengths: Any, *, xp: Any, edges: Edges) -> Any:
    """Cut the 400 samples around every multiple of 160.

    Parameters
    ----------
    signals : array [shape=(B, N)], float32
    lengths : array [shape=(B,)], int64
    xp : array namespace
    edges : {"constant", "reflect"}

    Returns
    -------
    array [shape=(B, N // 160 + 1, 400)], float32
    """
    batch, samples = signals.shape
    starts = xp.arange(samples // HOP_SAMPLES + 1, dtype=xp.int64) * HOP_SAMPLES - WINDOW_SAMPLES // 2
    index = starts[:, None] + xp.arange(WINDOW_SAMPLES, dtype=xp.int64)[None, :]
    if edges == "reflect":
        last = xp.where(lengths > 1, lengths - 1, xp.ones_like(lengths))[:, None, None]
        index = xp.abs(index)[None, :, :] % (2 * last)
        index = xp.where(index > last, 2 * last - index, index)
    else:
        index = xp.broadcast_to(index[None, :, :], (batch, *index.shape))
    inside = (index >= 0) & (index < samples)
    rows = xp.arange(batch, dtype=xp.int64)[:, None, None] * samples
    flat = rows + xp.where(inside, index, xp.zeros_like(index))
    taken = xp.reshape(xp.take(xp.reshape(signals, (-1,)), xp.reshape(flat, (-1,))), index.shape)
    return xp.where(inside, taken, xp.zeros_like(taken))


def normalize_per_feature(frames: Any, lengths: Any, *, xp: Any) -> Any:
    """Bring each mel band to mean 0 and standard deviation 1 (n - 1 in the denominator); zero the other frames.

    Sums are taken in float64, so that neither padding nor the order of summation shows in float32.

    Parameters
    ----------
    frames : array [shape=(B, n_mels, T)], float32
    lengths : array [shape=(B,)], int64
        Valid frames; a single one has no deviation and becomes zeros.
    xp : array namespace

    Returns
    -------
    array [shape=(B, n_mels, T)], float32
    """
    valid = (xp.arange(frames.shape[2], dtype=xp.int64)[None, :] < lengths[:, None])[:, None, :]
    wide = xp.astype(frames, xp.float64)
    nothing = xp.zeros_like(wide)
    counts = xp.astype(lengths, xp.float64)[:, None, None]
    ones = xp.ones_like(counts)
    mean = xp.sum(xp.where(valid, wide, nothing), axis=2, keepdims=True) / xp.where(counts > 0, counts, ones)
    centred = xp.where(valid, wide - mean, nothing)
    variance = xp.sum(centred * centred, axis=2, keepdims=True) / xp.where(counts > 1, counts - 1, ones)
    return xp.astype(centred / (xp.sqrt(variance) + STD_GUARD), xp.float32)


def mask_frames(frames: Any, lengths: Any, *, xp: Any) -> Any:
    """Zero the frames at and beyond each utterance's length."""
    valid = (xp.arange(frames.shape[2], dtype=xp.int64)[None, :] < lengths[:, None])[:, None, :]
    return xp.where(valid, frames, xp.zeros_like(frames))
