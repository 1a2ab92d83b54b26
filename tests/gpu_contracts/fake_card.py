"""A card that is none: the do-nothing driver in this process, whose kernels are compiled for the host from source."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tdt.runtime import card_context, card_kernel, device_queue, driver

from .grid_host import build

if TYPE_CHECKING:
    import pytest

    from tdt.runtime.nvrtc import CudaSource

FAKE = Path(__file__).parent / "fake_cuda"


class Kernels(NamedTuple):
    """What was made with the driver and not given back; launches so far, and the shape of the last."""

    pieces: int
    bytes: int
    modules: int
    launches: int
    blocks: int
    threads: int


class Lateness(NamedTuple):
    """How often memory went while something enqueued needed it; what was enqueued, is done, and still waits."""

    gone_too_early: int
    enqueued: int
    done: int
    waiting: int


def kernel_counts(library: ctypes.CDLL) -> Kernels:
    """Ask the do-nothing driver."""
    numbers = (ctypes.c_long * len(Kernels._fields))()
    library.fake_driver_kernel_counts(numbers)
    return Kernels(*numbers)


class HostCompiler:
    """Takes the place of NVRTC: compiles for the host, and gives the path of the library as machine code."""

    version = (13, 0)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.compiled: list[CudaSource] = []

    def compile(self, source: CudaSource, capability: tuple[int, int]) -> tuple[bytes, str]:
        self.compiled.append(source)
        defines = [option.removeprefix("-D") for option in source.options if option.startswith("-D")]
        made = build(self.folder, source.text, source.name, "library", defines, source.headers)
        return b"\x7fELF" + str(made.path).encode() + b"\0", ""


class FakeCard:
    """The driver library, and what it counts.

    Parameters
    ----------
    folder : Path
        For libraries.
    monkeypatch : pytest.MonkeyPatch
        Puts it in the place of the system's driver and compiler.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = folder / "libcuda-alone.so"
        if not self.path.is_file():
            sources = [str(FAKE / name) for name in ("fake_driver.c", "fake_kernels.c", "fake_lazy.c", "fake_alone.c")]
            subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(self.path), *sources, "-ldl", "-pthread"], check=True)
        self.library = ctypes.CDLL(str(self.path))
        self.library.fake_driver_said.restype = ctypes.c_char_p
        self.library.fake_driver_card.argtypes = [ctypes.c_long] * 3
        self.compiler = HostCompiler(folder)
        self.be()
        real = driver.read_driver
        monkeypatch.setattr(card_context, "driver_library", lambda: ctypes.CDLL(str(self.path)))
        for module in (device_queue, card_kernel):
            monkeypatch.setattr(module, "read_driver", lambda: real(str(self.path)))
        monkeypatch.setattr(card_kernel, "find_nvrtc", lambda major: self.compiler if major >= 13 else None)

    def be(self, multiprocessors: int = 3, *, cooperative: bool = True, memory_bytes: int = 1 << 36) -> None:
        """Be another card."""
        self.library.fake_driver_card(multiprocessors, int(cooperative), memory_bytes)

    def take_time(self, seed: int, argument_bytes: int = 0) -> None:
        """Carry out from now on what is enqueued in orders drawn by lot, at waits at the latest; 0: at once again."""
        self.library.fake_driver_argument(ctypes.c_long(argument_bytes if seed else 0))
        self.library.fake_driver_lazy(ctypes.c_ulong(seed))

    def lateness(self) -> Lateness:
        numbers = (ctypes.c_long * len(Lateness._fields))()
        self.library.fake_driver_lateness(numbers)
        return Lateness(*numbers)

    def kernels(self) -> Kernels:
        return kernel_counts(self.library)

    def said(self) -> str:
        return self.library.fake_driver_said().decode()
