"""What the NVIDIA driver says about itself and its cards, without any CUDA package."""

from __future__ import annotations

import ctypes
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Sequence

LIBRARIES = ("libcuda.so.1", "nvcuda.dll")
_NAME_BYTES = 256
_COMPUTE_MAJOR, _COMPUTE_MINOR = 75, 76  # CUdevice_attribute
_PROC_VERSION = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True, slots=True)
class Card:
    """One device.

    Parameters
    ----------
    name : str
    capability : tuple of int
        Compute capability, (8, 6) for sm_86.
    memory_bytes : int
    """

    name: str
    capability: tuple[int, int]
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Driver:
    """The driver, if there is one.

    Parameters
    ----------
    cuda : tuple of int or None
        Newest CUDA version it serves, (13, 0); None without a driver.
    version : str
        Its own number, "580.65.06"; empty where unknown.
    cards : tuple of Card
    problem : str
        Why there is no driver or no card; empty where all is well.
    """

    cuda: tuple[int, int] | None
    version: str
    cards: tuple[Card, ...]
    problem: str = ""


def read_driver(library: str | None = None) -> Driver:
    """Ask the driver library.

    Parameters
    ----------
    library : str, optional
        Name or path of the library; the system's by default.
    """
    names = (library,) if library else LIBRARIES
    loaded = driver_library(names)
    if loaded is None:
        return Driver(None, "", (), f"no NVIDIA driver: {names[0]} is not on this machine")
    try:
        return _ask(loaded)
    except AttributeError as error:
        return Driver(None, "", (), f"the driver library lacks a function ({error})")


def driver_library(names: Sequence[str] = LIBRARIES) -> ctypes.CDLL | None:
    """Load the driver's library, if it is there; each call gives an object of its own."""
    for name in names:
        with suppress(OSError):
            return ctypes.CDLL(name)
    return None


def card_uuid(device_id: int, library: str | None = None) -> str:
    """Return what a card is called wherever it is counted: its UUID, of a MIG slice the slice's; else nothing.

    CUDA counts those that CUDA_VISIBLE_DEVICES names, the fastest first; NVML counts all, by their place on the bus.
    """
    loaded = driver_library((library,) if library else LIBRARIES)
    device, content = ctypes.c_int(), ctypes.create_string_buffer(16)
    if loaded is None or loaded.cuInit(0) or loaded.cuDeviceGet(ctypes.byref(device), device_id):
        return ""
    ask = getattr(loaded, "cuDeviceGetUuid_v2", None) or getattr(loaded, "cuDeviceGetUuid", None)
    return "" if ask is None or ask(content, device) else str(UUID(bytes=content.raw))


def _ask(library: ctypes.CDLL) -> Driver:
    number = ctypes.c_int()
    status = library.cuInit(0)
    version = _own_version()
    if status != 0:
        return Driver(None, version, (), f"the driver does not start (cuInit gives {status}: no card, or none visible)")
    library.cuDriverGetVersion(ctypes.byref(number))
    cuda = (number.value // 1000, number.value % 1000 // 10)
    library.cuDeviceGetCount(ctypes.byref(number))
    cards = tuple(_card(library, index) for index in range(number.value))
    return Driver(cuda, version, cards, "" if cards else "the driver sees no card")


def _card(library: ctypes.CDLL, index: int) -> Card:
    device, value, memory = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
    name = ctypes.create_string_buffer(_NAME_BYTES)
    library.cuDeviceGet(ctypes.byref(device), index)
    library.cuDeviceGetName(name, _NAME_BYTES, device)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    capability = []
    for attribute in (_COMPUTE_MAJOR, _COMPUTE_MINOR):
        library.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        capability.append(value.value)
    return Card(name.value.decode(errors="replace"), (capability[0], capability[1]), memory.value)


def _own_version() -> str:
    try:
        text = _PROC_VERSION.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.search(r"\b(\d{3,}\.\d+(?:\.\d+)?)\b", text)
    return found.group(1) if found else ""
