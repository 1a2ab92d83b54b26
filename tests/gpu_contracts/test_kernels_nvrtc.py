"""Every CUDA source compiles for every supported card: the real compiler, from the pip wheel, without a driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tdt.kernels.logmel import cuda

from .host_cuda import KERNEL

if TYPE_CHECKING:
    from pathlib import Path

ARCHITECTURES = (75, 80, 86, 89, 90, 120)
SOURCES = sorted(cuda.SOURCES.glob("*.cu"))


def compile_with_nvrtc(source: str, architecture: int) -> tuple[bytes, bytes]:
    from cupy.cuda import nvrtc

    program = nvrtc.createProgram(source, "kernel.cu", [], [])
    try:
        nvrtc.compileProgram(program, ["--std=c++14", f"--gpu-architecture=sm_{architecture}"])
        return nvrtc.getCUBIN(program), nvrtc.getProgramLog(program).encode()
    finally:
        nvrtc.destroyProgram(program)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_source_compiles(path: Path, architecture: int) -> None:
    cubin, log = compile_with_nvrtc(path.read_text(), architecture)
    assert cubin[:4] == b"\x7fELF"
    for name in KERNEL.findall(path.read_text()):
        assert name.encode() in cubin
    assert b"warning" not in log.lower(), log.decode()


def test_there_are_sources() -> None:
    assert {path.name for path in SOURCES} >= {"features.cu"}


def test_a_source_with_a_fault_does_not_compile() -> None:
    from cupy.cuda import nvrtc

    broken = SOURCES[0].read_text().replace("blockIdx", "blockIndex", 1)
    with pytest.raises(nvrtc.NVRTCError):
        compile_with_nvrtc(broken, 90)
