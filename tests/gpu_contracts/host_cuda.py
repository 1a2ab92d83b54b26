"""A stand-in for CuPy that runs CUDA sources on the host, compiled by g++ (see host_cuda.h); arrays are NumPy's."""

from __future__ import annotations

import ctypes
import re
import subprocess
import warnings
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

HERE = Path(__file__).parent
KERNEL = re.compile(r'extern "C" __global__ void (\w+)\(')


@cache
def compile_for_host(source: str, folder: Path) -> ctypes.CDLL:
    """Compile CUDA source to a shared library that offers launch_NAME for each of its kernels."""
    launchers = "".join(f"HOST_KERNEL({name})\n" for name in KERNEL.findall(source))
    number = len(list(folder.glob("*.so")))
    unit, library = folder / f"unit{number}.cpp", folder / f"unit{number}.so"
    unit.write_text(f'#include "host_cuda.h"\n{source}\n{launchers}')
    flags = ["-std=c++14", "-O0", "-Wall", "-Werror", "-Wno-sign-compare", "-shared", "-fPIC", f"-I{HERE}"]
    subprocess.run(["g++", *flags, str(unit), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


class DeviceArray(np.ndarray):
    """An array that says it lies on a CUDA device."""

    device = SimpleNamespace(id=0)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def get(self) -> np.ndarray:
        return np.array(self)


def on_device(array: Any, dtype: Any = None) -> DeviceArray:
    return np.asarray(array, dtype).view(DeviceArray)


class Foreign:
    """A device array of another library: nothing but DLPack."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, **_: object) -> object:
        return self.array.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0


class Streams(SimpleNamespace):
    """CuPy's streams as far as they are used: which is current, and which waits for which.

    Attributes
    ----------
    waits : list of (int, int)
        A stream, and the one whose work so far it was made to wait for.
    """

    def __init__(self) -> None:
        super().__init__(Device=nullcontext, runtime=SimpleNamespace(getDevice=lambda: 0))
        self.Stream = SimpleNamespace(from_external=lambda given: Stream(self, given.__cuda_stream__()[1]))
        self.waits: list[tuple[int, int]] = []
        self.stack: list[Any] = [Stream(self, 0)]

    def get_current_stream(self) -> Any:
        return self.stack[-1]

    def ExternalStream(self, ptr: int, device_id: int = -1) -> Any:
        warnings.warn("ExternalStream is deprecated.", DeprecationWarning, stacklevel=2)  # as CuPy 14 does
        return Stream(self, ptr)


class Stream:
    def __init__(self, streams: Streams, ptr: int) -> None:
        self.streams, self.ptr = streams, ptr

    def record(self) -> int:
        return self.ptr

    def wait_event(self, event: int) -> None:
        self.streams.waits.append((self.ptr, event))

    def __enter__(self) -> None:
        self.streams.stack.append(self)

    def __exit__(self, *_: object) -> None:
        self.streams.stack.pop()


class HostCupy(ModuleType):
    """What the package uses of CuPy, over NumPy arrays and host-compiled kernels.

    Parameters
    ----------
    folder : Path
        For compiled libraries.
    changes : dict, optional
        Text to replace in the sources, to break them on purpose.
    descending : bool, optional
        Order in which the threads of a block run.
    """

    ndarray = DeviceArray
    fft = np.fft
    asarray = staticmethod(on_device)
    isfinite = staticmethod(np.isfinite)
    asnumpy = staticmethod(np.array)

    @staticmethod
    def empty(shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        return on_device(np.full(shape, 77, dtype))  # as undefined as a device's

    @staticmethod
    def zeros(shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        return on_device(np.zeros(shape, dtype))

    @staticmethod
    def from_dlpack(array: Foreign) -> DeviceArray:
        return on_device(array.array)

    def __init__(self, folder: Path, changes: dict[str, str] | None = None, *, descending: bool = False) -> None:
        super().__init__("cupy")
        self.folder = folder
        self.changes = changes or {}
        self.descending = descending
        self.cuda = Streams()
        self.launches: list[tuple[str, tuple[int, ...]]] = []
        self.launched_on: set[int] = set()

    def RawModule(self, code: str, options: tuple[str, ...]) -> SimpleNamespace:
        for old, new in self.changes.items():
            code = code.replace(old, new)
        library = compile_for_host(code, self.folder)
        return SimpleNamespace(get_function=lambda name: self._launcher(library, name))

    def _launcher(self, library: ctypes.CDLL, name: str) -> Any:
        launch = library[f"launch_{name}"]

        def run(grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
            self.launches.append((name, grid))
            self.launched_on.add(self.cuda.get_current_stream().ptr)
            sizes = [(ctypes.c_uint * 3)(*shape, *[1] * (3 - len(shape))) for shape in (grid, block)]
            # An array goes as its address, a scalar as its own bytes: CUDA takes pointers to either.
            cells = [
                np.array([a.ctypes.data], np.uint64) if isinstance(a, np.ndarray) else np.array([a]) for a in arguments
            ]
            for argument in arguments:
                assert isinstance(argument, (np.ndarray, np.generic)), "a Python number has no size in CUDA"
                assert not isinstance(argument, np.ndarray) or argument.flags.c_contiguous
            pointers = (ctypes.c_void_p * len(cells))(*[cell.ctypes.data for cell in cells])
            assert launch(*sizes, pointers, int(self.descending)) == 0, "threads of a block parted at a barrier"

        return run
