"""The decoder on the card through the real compiler, from its wheel, without a driver: what each card will be given.

The compiler says registers, spills and shared memory of each kernel; a block must fit every card that is supported.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tdt.errors import ProviderError
from tdt.kernels.decoder import greedy_layout as layout
from tdt.runtime import nvrtc
from tdt.runtime.nvrtc import CudaSource, Nvrtc, compiled, find_nvrtc

if TYPE_CHECKING:
    from pathlib import Path

ARCHITECTURES = ((7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (12, 0))
REGISTERS_OF_A_MULTIPROCESSOR = 65_536
# Shared memory that a block may ask for, by architecture.
SHARED_BYTES = {(7, 5): 65_536, (8, 0): 166_912, (8, 6): 101_376, (8, 9): 101_376, (9, 0): 232_448, (12, 0): 101_376}
V3 = layout.Sizes(2, 640, 640, 640, 640, 8193, 8196, 5, 8)


@pytest.fixture(scope="module")
def compiler() -> Nvrtc:
    found = find_nvrtc(99)
    assert found is not None, "the wheel nvidia-cuda-nvrtc is not installed"
    return found


def source(rows: int, *, half: bool, extra: tuple[str, ...] = ()) -> CudaSource:
    text, headers = layout.source()
    options = [f"-D{name}={value}" for name, value in layout.defines(rows, half=half, sizes=V3).items()]
    return CudaSource("greedy.cu", text, headers, ("--std=c++17", *options, *extra))


@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
@pytest.mark.parametrize("rows", layout.PASSES)
@pytest.mark.parametrize("capability", ARCHITECTURES, ids=lambda one: f"sm_{one[0]}{one[1]}")
def test_registers_spills_and_shared_memory(
    compiler: Nvrtc, capability: tuple[int, int], rows: int, half: bool
) -> None:
    code, said = compiler.compile(source(rows, half=half, extra=("--ptxas-options=-v",)), capability)
    assert code[:4] == b"\x7fELF"
    assert b"greedy" in code
    assert "warning" not in said.lower(), said
    spilled = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", said)
    assert spilled, said
    assert set(spilled) == {("0", "0", "0")}
    registers = max(int(number) for number in re.findall(r"Used (\d+) registers", said))
    assert registers * 32 * layout.WARPS <= REGISTERS_OF_A_MULTIPROCESSOR
    (static,) = map(int, re.findall(r"(\d+) bytes smem", said))
    assert static <= layout.STATIC_SHARED_BYTES
    fits = static + V3.shared_bytes(rows) <= SHARED_BYTES[capability]
    assert fits or (rows, capability) == (16, (7, 5)), "a T4 has room for passes of 8 rows only"


def test_what_does_not_compile_is_told_and_not_kept(compiler: Nvrtc, tmp_path: Path) -> None:
    text, headers = layout.source()
    broken = CudaSource("broken.cu", text.replace("blockIdx", "blockIndex", 1), headers, source(8, half=False).options)
    with pytest.raises(ProviderError, match=r"broken\.cu does not compile with NVRTC 1\d\.\d.*blockIndex"):
        compiled(compiler, broken, (9, 0), tmp_path)
    with pytest.raises(ProviderError, match="A card newer than this NVRTC"):
        compiled(compiler, source(8, half=False), (99, 0), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_cubin_is_kept_for_what_it_was_made_of(
    compiler: Nvrtc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = CudaSource("small.cu", 'extern "C" __global__ void small(int *p) { *p = NUMBER; }', {}, ("-DNUMBER=1",))
    first = compiled(compiler, small, (9, 0), tmp_path)
    calls: list[str] = []
    monkeypatch.setattr(Nvrtc, "compile", lambda self, one, capability: calls.append(one.name) or (b"code", ""))
    assert compiled(compiler, small, (9, 0), tmp_path) == first
    assert not calls
    other = CudaSource(small.name, small.text, {}, ("-DNUMBER=2",))
    for one, capability in ((other, (9, 0)), (small, (8, 0))):
        assert compiled(compiler, one, capability, tmp_path) == b"code"
    compiler.version = (compiler.version[0], compiler.version[1] + 1)
    compiled(compiler, small, (9, 0), tmp_path)
    assert len(calls) == 3
    assert len(list(tmp_path.glob("small-sm_*.cubin"))) == 4


def test_a_driver_is_given_no_newer_code_than_it_runs(compiler: Nvrtc) -> None:
    assert find_nvrtc(compiler.version[0]) is not None
    assert find_nvrtc(11) is None


def test_a_folder_that_cannot_be_written_costs_the_cache_alone(compiler: Nvrtc, tmp_path: Path) -> None:
    small = CudaSource("small.cu", 'extern "C" __global__ void small(int *p) { *p = 1; }')
    (tmp_path / "file").write_text("")
    assert compiled(compiler, small, (9, 0), tmp_path / "file" / "below")[:4] == b"\x7fELF"
    assert nvrtc._read(tmp_path / "file" / "below") is None
