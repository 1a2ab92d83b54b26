"""NeMo's per-feature normalisation over the valid frames of each utterance, for any array library."""

from __future__ import annotations

from typing import Any

STD_GUARD = 1e-5


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
