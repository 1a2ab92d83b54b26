"""The CPU path of the features: the numbers of :mod:`.mel` and :mod:`.norm`, compiled, 16 frames at a time.

A frame's 400 windowed samples are packed as 200 complex ones (even + i odd) into a transform of 256 points, radix 4,
that runs in registers and first-level cache for 16 frames side by side; the filterbank is applied to its nonzero
weights only. Every frame is computed in its own lane, so neither its neighbours nor the batch can change a bit of it.
What bounds it: arithmetic, about 12 000 operations a frame; memory is touched once (tools/bench_features.py).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..vector.jit import njit, njit_fast
from . import filterbank as banks
from .definition import LOG_GUARD, PREEMPHASIS, STD_GUARD, Edges, valid_frames
from .mel_ir import ROW_BYTES, address_of, butterfly, clear_rows, log_energy, power_pair, window_frames

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]
    Float64 = npt.NDArray[np.float64]
    Int64 = npt.NDArray[np.int64]

LANES = 16
POINTS = banks.N_FFT // 2  # complex points of the packed transform
EDGE = banks.WINDOW_SAMPLES // 2
FLOAT_BYTES = 4
PAIR_BYTES = 2 * FLOAT_BYTES
HOP = banks.HOP_SAMPLES


class Tables(NamedTuple):
    """Constants of the transform and the filterbank.

    Parameters
    ----------
    window : ndarray [shape=(400,)], float32
    turns : ndarray [shape=(256, 6)], float32
        Rotations of every butterfly of the stages, one stage after the other.
    order : ndarray [shape=(257,)], int64
        Where the transform leaves point k.
    unpack : ndarray [shape=(129, 2)], float32
        cos and sin of 2 pi k / 512.
    weights : ndarray [shape=(n,)], float32
        Nonzero stretch of each band of the filterbank, one after the other.
    bands : ndarray [shape=(n_mels, 3)], int64
        First bin, first weight and number of weights of each band.
    """

    window: Float32
    turns: Float32
    order: Int64
    unpack: Float32
    weights: Float32
    bands: Int64


@cache
def tables(n_mels: int) -> Tables:
    """Return the constants for a filterbank of `n_mels` bands, computed in float64."""
    turns = []
    for quarter in (64, 16, 4, 1):
        angles = -2 * np.pi * np.outer(np.arange(quarter), [1, 2, 3]) / (4 * quarter)
        turns.append(np.stack([np.cos(angles), np.sin(angles)], axis=2).reshape(quarter, 6))
    points = np.arange(POINTS)
    order = np.zeros_like(points)
    for digit in range(4):
        order += (points >> (2 * digit) & 3) << (6 - 2 * digit)
    half = 2 * np.pi * np.arange(POINTS // 2 + 1) / banks.N_FFT
    weights, bands = _sparse(banks.mel_filterbank(n_mels))
    return Tables(
        np.array(banks.hann_window()),
        np.concatenate(turns).astype(np.float32),
        np.append(order, order[0]).astype(np.int64),
        np.stack([np.cos(half), np.sin(half)], axis=1).astype(np.float32),
        weights,
        bands,
    )


def _sparse(bank: Float32) -> tuple[Float32, Int64]:
    stretches, bands, begin = [np.zeros(0, np.float32)], [], 0
    for row in bank:
        used = np.flatnonzero(row)
        first, count = (int(used[0]), int(used[-1] - used[0]) + 1) if len(used) else (0, 0)
        stretches.append(row[first : first + count])
        bands.append((first, begin, count))
        begin += count
    return np.concatenate(stretches), np.array(bands, np.int64)


class LogMel:
    """Log-mel features of clips on the CPU; holds constants only, so threads may share it.

    Parameters
    ----------
    n_mels : int
    normalize : {"per_feature", "none"}
    edges : {"constant", "reflect"}
        See :func:`.definition.valid_frames`.
    """

    def __init__(self, n_mels: int, normalize: str = "per_feature", edges: Edges = "constant") -> None:
        self.n_mels = n_mels
        self.normalize = normalize == "per_feature"
        self.edges: Edges = edges
        self.tables = tables(n_mels)

    def __call__(self, clips: Sequence[Float32]) -> tuple[Float32, Int64]:
        """Compute the features of a batch.

        Parameters
        ----------
        clips : sequence of ndarray [shape=(n,)], float32
            Contiguous, aligned, 16 kHz, finite.

        Returns
        -------
        frames : ndarray [shape=(B, n_mels, longest // 160 + 1)], float32
            Zero at and beyond an utterance's length.
        lengths : ndarray [shape=(B,)], int64
        """
        longest = max((len(clip) for clip in clips), default=0)
        frames = np.empty((len(clips), self.n_mels, longest // HOP + 1), np.float32)
        lengths = np.array([valid_frames(len(clip), self.edges) for clip in clips], np.int64)
        blocks = -(-(longest // HOP + 1) // LANES)
        raw = np.empty((self.n_mels, blocks * LANES), np.float32)
        scratch = np.empty((2 * POINTS + POINTS + 1 + 1) * LANES, np.float32)
        padded = np.empty(blocks * LANES * HOP + banks.WINDOW_SAMPLES, np.float32)
        for row, clip in enumerate(clips):
            given = clip.view()
            given.flags.writeable = False  # one type for all: another one would be compiled for
            _pad(given, self.edges == "reflect", padded)
            _log_mel(padded, len(clip) // HOP + 1, *self.tables, scratch, raw)
            _finish(raw, lengths[row], self.normalize, frames[row])
        return frames, lengths


@njit_fast
def _pad(clip: Float32, reflect: bool, padded: Float32) -> None:
    """Write the pre-emphasised clip with the 200 samples that frames reach beyond its ends, and zeros after them."""
    count = len(clip)
    ramp = np.float32(PREEMPHASIS)
    padded[:EDGE] = 0.0
    padded[EDGE] = clip[0]
    for i in range(1, count):
        padded[EDGE + i] = clip[i] - ramp * clip[i - 1]
    padded[EDGE + count :] = 0.0
    if reflect:
        last = max(count - 1, 1)
        for i in range(1, EDGE + 1):
            left = i % (2 * last)
            padded[EDGE - i] = padded[EDGE + (2 * last - left if left > last else left)]
            right = (count - 1 + i) % (2 * last)
            padded[EDGE + count - 1 + i] = padded[EDGE + (2 * last - right if right > last else right)]


@njit
def _transform(re: int, im: int, turns: int) -> None:
    """Transform 256 rows in place; point k ends in the row whose number has its base-4 digits reversed."""
    quarter = 64
    while quarter:
        for begin in range(0, POINTS, 4 * quarter):
            for j in range(quarter):
                offset = (begin + j) * ROW_BYTES
                butterfly(re + offset, im + offset, quarter * ROW_BYTES, turns + j * 6 * FLOAT_BYTES)
        turns += quarter * 6 * FLOAT_BYTES
        quarter //= 4


@njit
def _log_mel(
    padded: Float32,
    frames: int,
    window: Float32,
    turns: Float32,
    order: Int64,
    unpack: Float32,
    weights: Float32,
    bands: Int64,
    scratch: Float32,
    raw: Float32,
) -> None:
    """Write the log energies of `frames` frames, rounded up to 16, to raw [n_mels, width]."""
    re = (address_of(scratch) + 63) // 64 * 64
    im = re + POINTS * ROW_BYTES
    power = im + POINTS * ROW_BYTES
    source, weight, target = address_of(padded), address_of(weights), address_of(raw)
    taper, rotation, halves = address_of(window), address_of(turns), address_of(unpack)
    width = raw.shape[1]
    for block in range(0, frames, LANES):
        # The window leaves the last 56 points zero; the transform of the block before has overwritten them.
        clear_rows(re + banks.WINDOW_SAMPLES // 2 * ROW_BYTES, POINTS - banks.WINDOW_SAMPLES // 2)
        clear_rows(im + banks.WINDOW_SAMPLES // 2 * ROW_BYTES, POINTS - banks.WINDOW_SAMPLES // 2)
        start = source + block * HOP * FLOAT_BYTES
        for i in range(0, banks.WINDOW_SAMPLES, LANES):
            rows = i // 2 * ROW_BYTES
            window_frames(start + i * FLOAT_BYTES, HOP * FLOAT_BYTES, taper + i * FLOAT_BYTES, re + rows, im + rows)
        _transform(re, im, rotation)
        for k in range(POINTS // 2 + 1):
            low, high = order[k] * ROW_BYTES, order[POINTS - k] * ROW_BYTES
            rows = power + k * ROW_BYTES
            power_pair(re, im, low, high, halves + k * PAIR_BYTES, rows, rows + (POINTS - 2 * k) * ROW_BYTES)
        for band in range(len(bands)):
            first, begin, count = bands[band]
            out = target + (band * width + block) * FLOAT_BYTES
            log_energy(power + first * ROW_BYTES, weight + begin * FLOAT_BYTES, count, np.float32(LOG_GUARD), out)


@njit_fast
def _finish(raw: Float32, valid: int, normalize: bool, out: Float32) -> None:
    """Normalise each band over its valid frames, in float64, and zero the others."""
    for band in range(out.shape[0]):
        mean, factor = 0.0, 1.0
        if normalize and valid > 0:
            for t in range(valid):
                mean += np.float64(raw[band, t])
            mean /= valid
            squares = 0.0
            for t in range(valid):
                centred = np.float64(raw[band, t]) - mean
                squares += centred * centred
            factor = 1.0 / (np.sqrt(squares / max(valid - 1, 1)) + STD_GUARD)
        for t in range(valid):
            out[band, t] = np.float32((np.float64(raw[band, t]) - mean) * factor)
        for t in range(valid, out.shape[1]):
            out[band, t] = 0.0
