"""A stand-in for CuPy that runs CUDA sources on the host, compiled by g++ (see host_cuda.h); arrays are NumPy's."""

from __future__ import annotations

import ctypes
import re
import subprocess
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

    ndarray = np.ndarray
    empty, zeros, asarray = staticmethod(np.empty), staticmethod(np.zeros), staticmethod(np.asarray)
    fft = np.fft
    cuda = SimpleNamespace(Device=lambda: SimpleNamespace(id=0))

    def __init__(self, folder: Path, changes: dict[str, str] | None = None, *, descending: bool = False) -> None:
        super().__init__("cupy")
        self.folder = folder
        self.changes = changes or {}
        self.descending = descending
        self.launches: list[tuple[str, tuple[int, ...]]] = []

    def RawModule(self, code: str, options: tuple[str, ...]) -> SimpleNamespace:
        for old, new in self.changes.items():
            code = code.replace(old, new)
        library = compile_for_host(code, self.folder)
        return SimpleNamespace(get_function=lambda name: self._launcher(library, name))

    def _launcher(self, library: ctypes.CDLL, name: str) -> Any:
        launch = library[f"launch_{name}"]

        def run(grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
            self.launches.append((name, grid))
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
