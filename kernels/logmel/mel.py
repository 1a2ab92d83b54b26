"""NeMo's log-mel spectrogram (AudioToMelSpectrogramPreprocessor, FilterbankFeatures), for any array library.

Only functions of the Python array API standard are used, so NumPy, CuPy and strict implementations run it unchanged.
"""

from __future__ import annotations

from typing import Any, Literal

from .filterbank import HOP_SAMPLES, N_FFT, WINDOW_SAMPLES

Edges = Literal["constant", "reflect"]

PREEMPHASIS = 0.97
LOG_GUARD = 2.0**-24


def valid_frames(samples: int, edges: Edges) -> int:
    """Return the frames that count: N // 160 since NeMo 2.5 ("constant"), one more until 2.4 ("reflect")."""
    return samples // HOP_SAMPLES + (edges == "reflect" and samples > 0)


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
