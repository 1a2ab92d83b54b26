"""Weights of a transducer decoder, packed for the compiled kernels: padded, aligned, with 8-bit copies and bounds.

Pure NumPy; the layout is described at each type. Rows are padded with zeros to whole vectors (16 floats, 64 bytes) and
their number to a multiple of 16.
"""

from __future__ import annotations

import math
import mmap
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]

ALIGNMENT_BYTES = 64
ROW_BLOCK = 16
GROUP_ROWS = 64  # of the output layer by columns: a cache line of bytes
# About 1 KB of a column lies in one stretch, for long reads; v3's 129 groups make 8 blocks, which share out evenly.
# Small vocabularies are cut into four blocks all the same, one for each thread of a team.
COLUMN_BLOCK_GROUPS = 17
LEAST_COLUMN_BLOCKS = 4
HUGE_PAGE_BYTES = 2 << 20
HUGE_FROM_BYTES = 1 << 20
# Unit roundoff of float32, and what the float32 operations around a screened logit may add in units of it
# (integer to float, two scalings, bias, bound itself; doubled for safety).
UNIT = 2.0**-24
EXTRA_ROUNDINGS = 24


class Dense(NamedTuple):
    """One or more matrices of equal shape, in float32, 8-bit, or both; the absent form has no elements.

    Attributes
    ----------
    values : ndarray [shape=(count, N16, K16)], float32
        Blocks of 8 rows interleaved (:func:`interleave`), but for the output layer, whose rows are read singly.
    levels : ndarray [shape=(count, N16, K64)], int8, within ±127
        Blocks of 8 rows interleaved.
    scales : ndarray [shape=(count, N16)], float32; value = level × scale
    sums : ndarray [shape=(count, N16)], int32; sum of the levels of each row
    """

    values: Any
    levels: Any
    scales: Any
    sums: Any


class Weights(NamedTuple):
    """Everything the compiled decoder reads.

    Attributes
    ----------
    table, ready : ndarray [shape=(V + 1, G)], float32, and [shape=(V + 1,)], uint8
        Input gates of the first LSTM layer by token (embedding × input weights + bias), and which rows are filled.
    embedding, input0, bias : ndarray
        What a row of the table is made from: [V + 1, E16], [G, E16], and the summed biases [L, G] of all layers.
    inputs, recurrent : Dense
        Input weights of layers 1.., recurrent weights of layers 0..; G = 4 × H16 rows, gates i, o, f, g.
    predictor, encoder : Dense
        The joint's projections; J16 rows.
    predictor_bias, encoder_bias : ndarray [shape=(J16,)], float32
    encoder_width : int
        D16: numbers an encoder frame, padded.
    output : Dense
        Token rows of the joint's output layer; V16 rows.
    columns : ndarray [shape=(V64 × J16,)], int8
        The output layer's levels once more, by columns (:func:`by_columns`).
    rows : ndarray [shape=(5, V16)], float32
        By token: scale, bias (-inf in the padding), sum of levels (int32 bits), weight error, norm of the 8-bit row.
    duration, duration_bias : ndarray [shape=(N16, J16)] and [shape=(N16,)], float32
        Duration rows of the output layer.
    constants : ndarray [shape=(3,)], float32
        Certified error of a logit that does not depend on the activation; and what the other two parts of the certified
        error are multiplied by to give a logit's expected error.
    roundings : tuple of ndarray
        How activations are rounded (:mod:`.roundings`): the table of programs, and what it points to; empty where they
        are not.
    """

    table: Any
    ready: Any
    embedding: Any
    input0: Any
    bias: Any
    inputs: Dense
    recurrent: Dense
    predictor: Dense
    predictor_bias: Any
    encoder: Dense
    encoder_bias: Any
    encoder_width: int
    output: Dense
    columns: Any
    rows: Any
    duration: Any
    duration_bias: Any
    constants: Any
    roundings: tuple[Any, ...] = ()


def ceil_to(value: int, multiple: int) -> int:
    """Return the least multiple of `multiple` that is not below `value`."""
    return -(-value // multiple) * multiple


def aligned(shape: tuple[int, ...], dtype: Any) -> Any:
    """Return zeros that start on a cache line; pages are not touched before they are written.

    Large arrays ask for huge pages: weights are streamed, and the processor's translation buffer does not reach over
    them in pages of 4 KB (NumPy asks only from 4 MB on).
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    raw = _huge(size) if size >= HUGE_FROM_BYTES and hasattr(mmap, "MADV_HUGEPAGE") else None
    alignment = HUGE_PAGE_BYTES
    if raw is None:
        alignment = ALIGNMENT_BYTES
        raw = np.zeros(size + alignment, np.uint8)
    start = -raw.ctypes.data % alignment
    return raw[start : start + size].view(dtype).reshape(shape)


def _huge(size: int) -> Any:
    """Return zeros in memory that the system may back with huge pages, or None where it does not want to."""
    try:
        memory = mmap.mmap(-1, size + HUGE_PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        memory.madvise(mmap.MADV_HUGEPAGE)
    except OSError:
        return None
    return np.frombuffer(memory, np.uint8)


def pad_matrix(matrix: Any, columns: int, dtype: Any) -> Any:
    """Copy a matrix [N, K] into aligned zeros [N16, K padded to a multiple of `columns`]."""
    n, k = matrix.shape
    out = aligned((ceil_to(n, ROW_BLOCK), ceil_to(k, columns)), dtype)
    out[:n, :k] = matrix
    return out


def pad_vector(vector: Any, size: int, fill: float = 0.0) -> Any:
    """Copy a vector into aligned float32 of `size` elements, the rest being `fill`."""
    out = aligned((size,), np.float32)
    out[:] = fill
    out[: len(vector)] = vector
    return out


def pad_gates(rows: Any, hidden: int) -> Any:
    """Spread the four gates [4 × H, ...] over 4 × H16 rows."""
    width = ceil_to(hidden, ROW_BLOCK)
    out = np.zeros((4, width, *rows.shape[1:]), rows.dtype)
    out[:, :hidden] = rows.reshape(4, hidden, *rows.shape[1:])
    return out.reshape(4 * width, *rows.shape[1:])


def interleave(stack: Any, step: int) -> Any:
    """Interleave blocks of 8 rows of matrices [count, N16, K]: `step` elements of each row in turn.

    The shape stays; the weights become one stream of cache lines in the order in which the kernels read them.
    """
    count, n, k = stack.shape
    out = aligned(stack.shape, stack.dtype)
    if stack.size:
        out.reshape(count, n // 8, k // step, 8, step)[:] = stack.reshape(count, n // 8, 8, k // step, step).swapaxes(
            2, 3
        )
    return out


def quantize_rows(matrix: Float32) -> tuple[npt.NDArray[np.int8], Float32]:
    """Round each row to 8 bits with a scale of its own.

    Returns
    -------
    levels : ndarray [shape=(N, K)], int8, within ±127
    scales : ndarray [shape=(N,)], float32; 1 for a row of zeros
    """
    top = np.abs(matrix).max(axis=1)
    scales = np.where(top > 0, top / np.float32(127), np.float32(1)).astype(np.float32)
    levels = np.clip(np.rint(matrix / scales[:, None]), -127, 127).astype(np.int8)
    return levels, scales


def pack_dense(
    matrices: list[Float32],
    quantised: list[tuple[npt.NDArray[np.int8], Float32]],
    *,
    floats: bool,
    interleaved: bool = True,
) -> Dense:
    """Pack matrices [N, K] of one shape.

    Parameters
    ----------
    matrices : list of ndarray [shape=(N, K)], float32
    quantised : list of (levels, scales)
        Their 8-bit forms; empty for none.
    floats : bool
        Whether the float32 form is wanted.
    interleaved : bool
        Whether float32 rows are interleaved too.
    """
    n, k = matrices[0].shape if matrices else (0, 0)
    rows = ceil_to(n, ROW_BLOCK)
    values = aligned((len(matrices), rows, ceil_to(k, 16)) if floats else (0, 0, 0), np.float32)
    levels = aligned((len(quantised), rows, ceil_to(k, 64)) if quantised else (0, 0, 0), np.int8)
    scales = aligned((len(quantised), rows) if quantised else (0, 0), np.float32)
    sums = aligned(scales.shape, np.int32)
    for index, matrix in enumerate(matrices if floats else []):
        values[index, :n, :k] = matrix
    for index, given in enumerate(quantised):
        levels[index, :n, :k], scales[index, :n] = given
        sums[index] = levels[index].sum(axis=1, dtype=np.int32)
    return Dense(interleave(values, 16) if interleaved else values, interleave(levels, 64), scales, sums)


def column_blocks(groups: int) -> int:
    """Return into how many blocks `groups` groups of rows are cut."""
    return max(-(-groups // COLUMN_BLOCK_GROUPS), min(groups, LEAST_COLUMN_BLOCKS))


def column_block(groups: int, blocks: int, index: int) -> tuple[int, int]:
    """Return first group and number of groups of block `index` of an output layer by columns."""
    first = groups * index // blocks
    return first, groups * (index + 1) // blocks - first


def by_columns(levels: npt.NDArray[np.int8], columns: int) -> npt.NDArray[np.int8]:
    """Lay the output layer's levels [N, K] out by columns, so that the columns of zero activations need not be read.

    Blocks of rows follow one another (:func:`column_block`); a block is [columns, rows of the block]. Within a group of
    64 rows, row 16 j + 4 l + i stands at 16 l + 4 j + i: interleaving the bytes of four columns as x86 does it, within
    16 bytes, then gives the rows in order.
    """
    n, k = levels.shape
    groups = -(-n // GROUP_ROWS)
    padded = np.zeros((groups * GROUP_ROWS, columns), np.int8)
    padded[:n, :k] = levels
    swapped = padded.reshape(groups, 4, 4, 4, columns).swapaxes(1, 2).reshape(groups * GROUP_ROWS, columns)
    out = aligned((swapped.size,), np.int8)
    blocks = column_blocks(groups)
    for index in range(blocks):
        first, count = column_block(groups, blocks, index)
        rows = slice(first * GROUP_ROWS, (first + count) * GROUP_ROWS)
        out[rows.start * columns : rows.stop * columns] = swapped[rows].T.reshape(-1)
    return np.asarray(out, np.int8)


def screening_rows(
    quantised: tuple[npt.NDArray[np.int8], Float32], sums: npt.NDArray[np.int32], matrix: Float32, bias: Float32
) -> Float32:
    """Return the table that the screening reads: [5, V16], see :class:`Weights`.

    A logit is estimated from levels q, scale s, and activations quantised to step t: s t Σ q u + bias. With the true
    row w and activation x, |error| ≤ ‖w - s q‖ ‖x‖ + ‖s q‖ ‖x - t u‖ by Cauchy-Schwarz, plus rounding: the float32 sum
    itself is at most (K / 16 + 5) units of 2^-24 × ‖w‖ ‖x‖ off, the arithmetic of the estimate a few more.
    """
    rows = aligned((5, len(sums)), np.float32)
    n, k = matrix.shape
    levels, scales = quantised
    rows[0, :n], rows[1, :n], rows[1, n:] = scales, bias, -np.inf
    rows[2] = sums.view(np.float32)
    approximate = levels.astype(np.float64) * scales[:, None].astype(np.float64)
    error = np.linalg.norm(matrix.astype(np.float64) - approximate, axis=1)
    norm, norm8 = np.linalg.norm(matrix.astype(np.float64), axis=1), np.linalg.norm(approximate, axis=1)
    rounding = (k / 16 + 5 + EXTRA_ROUNDINGS) * UNIT * (norm + norm8)
    rows[3, :n] = np.nextafter(((error + rounding) * (1 + 1e-6)).astype(np.float32), np.float32(np.inf))
    rows[4, :n] = np.nextafter((norm8 * (1 + 1e-6)).astype(np.float32), np.float32(np.inf))
    return np.asarray(rows, np.float32)


def error_constants(rows: Float32, width: int) -> Float32:
    """Return the `constants` of :class:`Weights` for the rows of :func:`screening_rows` and K = `width`."""
    out = aligned((3,), np.float32)
    biases = rows[1][np.isfinite(rows[1])]
    # The bias enters an estimate and its bounds by additions of float32: a few units of the largest bias.
    out[0] = 16 * UNIT * np.abs(biases).max(initial=0.0)
    # Cauchy-Schwarz holds for aligned vectors; rounding errors point anywhere, which takes 1 / sqrt(K) off.
    out[1:] = np.sqrt(np.mean(rows[3:5] ** 2, axis=1) / width)
    return np.asarray(out, np.float32)
