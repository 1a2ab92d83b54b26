"""What the do-nothing CUDA runtime and driver counted."""

from __future__ import annotations

import ctypes
import os
from typing import NamedTuple


class Counters(NamedTuple):
    host_to_device: int
    device_to_host: int
    device_to_device: int
    launches: int
    allocations: int
    allocated_bytes: int
    synchronisations: int
    cublas_calls: int
    cudnn_finalized: int
    cudnn_plans: int
    cudnn_executed: int
    held_bytes: int


class OnStream(NamedTuple):
    """What was enqueued on a stream, and how often it was waited for; the same of all other streams together."""

    enqueued: int
    waits: int
    enqueued_elsewhere: int
    waits_elsewhere: int


class Held(NamedTuple):
    """What was made with the driver and not given back."""

    streams: int
    events: int
    contexts: int


def runtime() -> ctypes.CDLL:
    return ctypes.CDLL(os.environ["TDT_FAKE_CUDA"])


def counters() -> Counters:
    numbers = (ctypes.c_long * len(Counters._fields))()
    runtime().fake_cuda_counters(numbers)
    return Counters(*numbers)


def on_stream(pointer: int) -> OnStream:
    numbers = (ctypes.c_long * len(OnStream._fields))()
    runtime().fake_cuda_stream(ctypes.c_void_p(pointer), numbers)
    return OnStream(*numbers)


def driver() -> ctypes.CDLL:
    return ctypes.CDLL("libcuda.so.1")


def held() -> Held:
    numbers = (ctypes.c_long * len(Held._fields))()
    driver().fake_driver_held(numbers)
    return Held(*numbers)


class Spent:
    """What the runtime was asked for since."""

    def __init__(self) -> None:
        self.before = counters()

    def __call__(self) -> Counters:
        return Counters(*(now - then for now, then in zip(counters(), self.before, strict=True)))


class Enqueued:
    """What went to a stream since."""

    def __init__(self, pointer: int) -> None:
        self.pointer = pointer
        self.before = on_stream(pointer)

    def __call__(self) -> OnStream:
        return OnStream(*(now - then for now, then in zip(on_stream(self.pointer), self.before, strict=True)))
