"""A card's memory: whether a failure means that there is too little of it, and how much is left."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tdt.errors import DeviceMemoryError, ProviderError
from tdt.runtime.card_context import CardContext
from tdt.runtime.driver import read_driver

if TYPE_CHECKING:
    from tdt.runtime.backend import Backend

# What ONNX Runtime's arena, the CUDA runtime, cuBLAS, cuDNN and TensorRT say when a card's memory does not suffice.
_SIGNS = (
    "bfc_arena",
    "Failed to allocate memory",
    "Available memory of",
    "out of memory",
    "OutOfMemory",
    "cudaErrorMemoryAllocation",
    "CUDA_ERROR_OUT_OF_MEMORY",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "DEVICE_ALLOCATION_FAILED",
    "of GPU memory",
)
# The CUDA provider's own calls, which name the runtime's number alone where its words are not the usual ones.
_CUDA_MALLOC = re.compile(r"CUDA failure 2\b|cudaMalloc(?:Async|Host|FromPoolAsync)?\(")
_ASKED = re.compile(
    r"requested buffer of size (\d+)|smaller than requested bytes of (\d+)|amount of GPU memory \((\d+) bytes\)"
)


def asked_bytes(text: str) -> int | None:
    """Return how much memory a failure says was asked for, 0 where it does not say; None for any other failure.

    Parameters
    ----------
    text : str
        What ONNX Runtime, CUDA or TensorRT said.
    """
    if not any(sign in text for sign in _SIGNS) and not _CUDA_MALLOC.search(text):
        return None
    found = _ASKED.search(text)
    return int(next(number for number in found.groups() if number)) if found else 0


def memory_of(device_id: int) -> tuple[int, int]:
    """Return the bytes that are free on a card, and its bytes in all; zeros where the driver does not tell."""
    driver = read_driver()
    if driver.problem or device_id >= len(driver.cards):
        return 0, 0
    try:
        return CardContext(device_id).memory()
    except ProviderError:
        return 0, driver.cards[device_id].memory_bytes


def shortage(what: str, backend: Backend, text: str, *, loading: bool = False) -> DeviceMemoryError | None:
    """Return the error that says so where a failure on a card is for want of its memory, else None.

    Parameters
    ----------
    what : str
        What failed: a graph's name.
    backend : Backend
    text : str
        What was said.
    loading : bool
        Whether it failed at load.
    """
    asked = asked_bytes(text) if backend.on_device else None
    if asked is None:
        return None
    return DeviceMemoryError(what, str(backend), asked, *memory_of(backend.device_id), loading=loading)
