"""Weights stored in few bits with a scale each, each row, or each block of a row: multiplied out, exactly.

Sources: ONNX `DequantizeLinear` 21 (block_size along an axis), ONNX Runtime's docs/ContribOperators.md for
`MatMulNBits` and `GatherBlockQuantized`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]
    Int32 = npt.NDArray[np.int32]

_PACKED_BITS = (2, 4, 8)


def dequantised(stored: Any, scale: Any, zero: Any, axis: int = 1, block: int = 0) -> Float32:
    """Return `(stored - zero) × scale` as DequantizeLinear computes it.

    Parameters
    ----------
    stored : ndarray
        Levels of any integer type.
    scale : ndarray
        One number; one a slice of `axis`; or, with `block`, of the shape of `stored` but for one a block along `axis`.
    zero : ndarray or None
        Zero points in the shape of `scale`; None for 0.
    axis, block : int
        The operator's attributes.

    Raises
    ------
    ValueError
        Where the shapes do not fit.
    """
    levels = np.asarray(stored).astype(np.int32)
    if not -levels.ndim <= axis < levels.ndim and np.size(scale) != 1:
        raise ValueError(f"the axis {axis} of levels of shape {levels.shape}")
    scales = _spread(np.asarray(scale).astype(np.float32), levels.shape, axis, block)
    if zero is not None:
        levels = levels - _spread(np.asarray(zero).astype(np.int32), levels.shape, axis, block)
    return np.ascontiguousarray(levels.astype(np.float32) * scales)


def _spread(values: Any, shape: tuple[int, ...], axis: int, block: int) -> Any:
    """Return one value for each element of `shape`, or what broadcasts to it."""
    if values.size == 1:
        return values.reshape(())
    axis %= len(shape)
    if block:
        expected = tuple(-(-size // block) if number == axis else size for number, size in enumerate(shape))
        if block < 0 or values.shape != expected:
            raise ValueError(
                f"blocks of {block} along axis {axis} of {shape} with scales or zero points {values.shape}"
            )
        spread = np.repeat(values, min(block, shape[axis]), axis=axis)  # a block may be longer than all there is
        return spread[tuple(slice(size) for size in shape)]
    return values.reshape([-1 if number == axis else 1 for number in range(len(shape))])


def unpacked(packed: Any, bits: int) -> Int32:
    """Return the numbers of 2, 4 or 8 bits that lie in bytes, the lowest bits first, along the last axis.

    Raises
    ------
    ValueError
        For other bits, or where it is no bytes that they lie in.
    """
    if bits not in _PACKED_BITS or packed.dtype != np.uint8:
        raise ValueError(f"{packed.dtype} that are said to hold numbers of {bits} bits")
    parts = [(packed.astype(np.int32) >> shift) & ((1 << bits) - 1) for shift in range(0, 8, bits)]
    return np.stack(parts, -1).reshape(*packed.shape[:-1], -1)


def nbits_rows(packed: Any, scale: Any, zero: Any, sizes: tuple[int, int, int, int]) -> Float32:
    """Return the weights of a MatMulNBits node as rows.

    Parameters
    ----------
    packed : ndarray [shape=(N, K / block, block × bits / 8)], uint8
    scale : ndarray of N × K / block numbers
    zero : ndarray or None
        Zero points, packed as the weights are or as floating-point numbers; None for the middle, 2^(bits - 1).
    sizes : tuple of (N, K, bits, block)

    Returns
    -------
    ndarray [shape=(N, K)], float32

    Raises
    ------
    ValueError
        Where the sizes are not those of the arrays.
    """
    rows, columns, bits, block = sizes
    if min(sizes) < 1 or packed.size != rows * -(-columns // block) * (block * bits // 8):
        raise ValueError(f"N, K, bits, block {sizes} of {packed.size} bytes")
    blocks = -(-columns // block)
    levels = unpacked(packed.reshape(rows, blocks, -1), bits).reshape(rows, blocks, block)
    if zero is None:
        zeros = np.full((rows, blocks), 1 << (bits - 1), np.float32)
    elif zero.dtype == np.uint8:
        zeros = unpacked(zero.reshape(rows, -1), bits)[:, :blocks].astype(np.float32)
    else:
        zeros = zero.reshape(rows, blocks).astype(np.float32)
    values = (levels.astype(np.float32) - zeros[..., None]) * scale.reshape(rows, blocks, 1).astype(np.float32)
    return np.ascontiguousarray(values.reshape(rows, -1)[:, :columns])


def gathered_rows(stored: Any, scale: Any, zero: Any, options: dict[str, Any]) -> Float32:
    """Return the table of a GatherBlockQuantized node, whatever its rows are gathered by.

    Parameters
    ----------
    stored : ndarray [shape=(V, E)], int4 or uint4, or uint8 with several numbers a byte along the last axis
    scale : ndarray [shape=(V, E / block)]
    zero : ndarray or None
        None for 0, and for the middle where `stored` is uint8.
    options : dict
        The node's attributes.

    Raises
    ------
    ValueError
        Where the attributes and shapes do not fit.
    """
    bits, block, axis = options.get("bits", 4), options.get("block_size", 128), options.get("quantize_axis", 1)
    if stored.dtype != np.uint8:
        return dequantised(stored, scale, zero, axis, block)
    if zero is None:
        zeros: Any = np.full(scale.shape, 1 << (bits - 1), np.int32)
    else:
        zeros = unpacked(zero, bits)[tuple(slice(size) for size in scale.shape)]
    return dequantised(unpacked(stored, bits), scale, zeros, axis, block)
