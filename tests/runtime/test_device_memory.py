"""A failure for want of a card's memory is told from every other, with what was asked for."""

from __future__ import annotations

import pytest

from tdt.errors import DeviceMemoryError, ProviderError
from tdt.runtime.backend import Backend
from tdt.runtime.device_memory import asked_bytes, shortage

ARENA = "[ONNXRuntimeError] : 1 : FAIL : Exception during initialization: /onnxruntime_src/…/bfc_arena.cc:360 void* "
SAID = [
    (ARENA + "AllocateRawInternal(…) Failed to allocate memory for requested buffer of size 331776\n", 331_776),
    (ARENA + "AllocateRawInternal(…) Available memory of 43520 is smaller than requested bytes of 82944", 82_944),
    ("CUDA failure 2: out of memory ; GPU=0 ; hostname=x ; expr=cudaMalloc((void**)&p, size); ", 0),
    ("CUDA error cudaErrorMemoryAllocation:out of memory", 0),
    ("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0 ; expr=cublasCreate(&cublas_handle_);", 0),
    ("CUDNN failure 5003: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED ; GPU=0", 0),
    ("[defaultAllocator.cpp::allocate::61] Requested amount of GPU memory (2147483648 bytes) could not be", 1 << 31),
    ("TensorRT EP failed to create engine: [checkMacros.cpp] Error Code 2: OutOfMemory (Requested size was 1024", 0),
]
OTHER = [
    "CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; expr=cudaStreamSynchronize(stream)",
    "CUDA failure 209: no kernel image is available for execution on the device ; GPU=0",
    "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load model from encoder-model.onnx failed:Protobuf parsing failed.",
    "This session cannot use the graph capture feature as requested by the user",
]


@pytest.mark.parametrize(("text", "asked"), SAID, ids=[text[-40:] for text, _ in SAID])
def test_want_of_memory_is_known_by_what_is_said(text: str, asked: int) -> None:
    assert asked_bytes(text) == asked
    error = shortage("encoder-model.onnx", Backend.parse("cuda:0"), text, loading=True)
    assert isinstance(error, DeviceMemoryError)
    assert isinstance(error, (ProviderError, MemoryError))
    assert error.asked_bytes == asked


@pytest.mark.parametrize("text", OTHER, ids=[text[:30] for text in OTHER])
def test_other_failures_are_others(text: str) -> None:
    assert asked_bytes(text) is None
    assert shortage("encoder-model.onnx", Backend.parse("cuda:0"), text) is None


def test_the_hosts_memory_is_not_a_cards() -> None:
    assert shortage("encoder-model.onnx", Backend(), SAID[0][0]) is None


def test_the_message_says_what_was_asked_what_is_free_and_what_to_do() -> None:
    loading = str(DeviceMemoryError("model.onnx", "cuda:0,memory=2", 3 << 30, 1 << 29, 8 << 30, loading=True))
    assert "model.onnx does not fit into the memory of cuda:0,memory=2: 3.00 GiB more asked for" in loading
    assert "0.50 GiB of 8.00 GiB free" in loading
    assert "raise memory=" in loading
    assert "ownload" not in loading
    running = str(DeviceMemoryError("A run", "cuda:0", 0, 0, 0))
    assert "batch_size" in running
    assert "memory=" not in running
