"""How a graph rounds activations to a few bits: by a Q/DQ pair, or inside a product of 8-bit blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]

# What blocks of activations are rounded to in products of MatMulNBits: ±127 times the block's own scale.
BLOCK_LEVELS = 127.0
# The `accuracy_level` from which MatMulNBits rounds activations to 8 bits.
INT8_LEVEL = 4


@dataclass(frozen=True, slots=True)
class Rounding:
    """QuantizeLinear and DequantizeLinear of one scale: `(clip(rint(x / scale) + zero, low, high) - zero) × scale`."""

    scale: float
    zero: int
    low: int
    high: int

    def of(self, values: Float32) -> Float32:
        """Return values as the pair hands them on."""
        scale = np.float32(self.scale)
        levels = np.clip(np.rint(values / scale), self.low - self.zero, self.high - self.zero)
        return np.asarray(levels * scale, np.float32)


@dataclass(frozen=True, slots=True)
class BlockRounding:
    """What ONNX Runtime's CPU provider does to the input of a MatMulNBits node of accuracy level 4.

    Each row is cut into blocks as long as the weights'. A block's scale is its largest magnitude / 127, and each number
    is rounded to the nearest multiple of it. Source: ONNX Runtime's MLAS, `QuantizeARow_CompInt8`; equal within 1e-5 on
    AVX2. The operator's description permits level 4 to round, and does not say how: KleidiAI's kernels on ARM take one
    scale a row.
    """

    block: int

    def of(self, values: Float32) -> Float32:
        """Return values [..., K] rounded."""
        columns = values.shape[-1]
        padded = np.zeros((*values.shape[:-1], -(-columns // self.block) * self.block), np.float32)
        padded[..., :columns] = values
        blocks = padded.reshape(*values.shape[:-1], -1, self.block)
        largest = np.abs(blocks).max(-1, keepdims=True)
        inverse = np.divide(BLOCK_LEVELS, largest, out=np.zeros_like(largest), where=largest > 0)
        rounded = np.rint(blocks * inverse) * (largest / np.float32(BLOCK_LEVELS))
        return np.ascontiguousarray(rounded.reshape(padded.shape)[..., :columns], np.float32)


Step = Rounding | BlockRounding


def rounded(values: Float32, steps: Sequence[Step]) -> Float32:
    """Return values after all steps in order."""
    for step in steps:
        values = step.of(values)
    return values
