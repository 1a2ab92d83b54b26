"""Plain samples out of bytes: integers, floats, A-law and µ-law of any byte order, to libsndfile's last bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]


class Coding(NamedTuple):
    """How samples are written: `kind` is "int", "uint", "float", "alaw" or "ulaw", `order` "<" or ">"."""

    kind: str
    sample_bytes: int
    channels: int
    order: str = "<"

    @property
    def frame_bytes(self) -> int:
        """Bytes of a sample of all channels."""
        return self.sample_bytes * self.channels

    def decode(self, data: bytes) -> Float32:
        """Return samples [shape=(n, channels)], float32, full scale at -1..1; a part of one at the end is left out."""
        whole = data[: len(data) // self.frame_bytes * self.frame_bytes]
        return self._values(whole).reshape(-1, self.channels)

    def _values(self, data: bytes) -> Float32:
        if self.kind in _LAWS:
            return _LAWS[self.kind][np.frombuffer(data, np.uint8)]
        if self.kind == "float":
            with np.errstate(over="ignore"):  # is refused later, with the right words
                return np.frombuffer(data, f"{self.order}f{self.sample_bytes}").astype(np.float32)
        if self.kind == "uint":
            return (np.frombuffer(data, np.uint8).astype(np.float32) - np.float32(128)) * np.float32(1 / 128)
        if self.sample_bytes == 3:
            wide = np.zeros((len(data) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)[:, :: 1 if self.order == "<" else -1]
            return wide.view("<i4")[:, 0].astype(np.float32) * np.float32(2.0**-31)
        integers = np.frombuffer(data, f"{self.order}i{self.sample_bytes}")
        return integers.astype(np.float32) * np.float32(2.0 ** (1 - 8 * self.sample_bytes))


def _ulaw() -> Float32:
    """Return the value of each byte by ITU-T G.711, µ-law: 14 bits, here at the scale of 16."""
    byte = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (byte >> 4 & 7).astype(np.int32), (byte & 15).astype(np.int32)
    magnitude = ((mantissa << 3) + 132 << exponent) - 132
    return (np.where(byte & 128, -magnitude, magnitude) / 32768).astype(np.float32)


def _alaw() -> Float32:
    """Return the value of each byte by ITU-T G.711, A-law: 13 bits, here at the scale of 16."""
    byte = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent, mantissa = (byte >> 4 & 7).astype(np.int32), (byte & 15).astype(np.int32)
    magnitude = np.where(exponent == 0, (mantissa << 4) + 8, (mantissa << 4) + 264 << np.maximum(exponent - 1, 0))
    return (np.where(byte & 128, magnitude, -magnitude) / 32768).astype(np.float32)


_LAWS = {"ulaw": _ulaw(), "alaw": _alaw()}


def wav_coding(tag: int, bits: int, block_bytes: int, channels: int, order: str) -> Coding | None:
    """Return the coding of a WAV header; None where a sample is no whole number of bytes of its own."""
    kind = {1: "uint" if bits == 8 else "int", 3: "float", 6: "alaw", 7: "ulaw"}.get(tag)
    sizes = {"uint": {8}, "int": {16, 24, 32}, "float": {32, 64}, "alaw": {8}, "ulaw": {8}}
    if kind is None or bits not in sizes[kind] or not 0 < channels <= 1024 or block_bytes != channels * bits // 8:
        return None
    return Coding(kind, bits // 8, channels, order)


def au_coding(code: int, channels: int, order: str) -> Coding | None:
    """Return the coding of an AU header; None for what is not plain."""
    kinds = {1: ("ulaw", 1), 2: ("int", 1), 3: ("int", 2), 4: ("int", 3), 5: ("int", 4), 6: ("float", 4),
             7: ("float", 8), 27: ("alaw", 1)}  # fmt: skip
    if code not in kinds or not 0 < channels <= 1024:
        return None
    kind, size = kinds[code]
    return Coding(kind, size, channels, order)
