"""The harness before the kernel: what it must accept and what it must find, a zoo of kernels with their verdicts.

Each file of grid/zoo says in line 1 whether it is right, in line 2 how it is launched. A wrong one must be found in a
checked run, by name; those marked "tsan" by ThreadSanitizer as well.
"""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from . import grid_host
from .grid_host import Buffer, GridError, Program, build, pointer

if TYPE_CHECKING:
    from pathlib import Path

    from .grid_host import Mode

if not os.environ.get("TDT_GPU_CONTRACTS") and shutil.which("g++") is None:
    pytest.skip("needs g++", allow_module_level=True)

ZOO = grid_host.HERE / "zoo"
ANIMALS = sorted(ZOO.glob("*/*.cu"))
PASS = [path for path in ANIMALS if path.parent.name == "pass"]
FAIL = [path for path in ANIMALS if path.parent.name == "fail"]
SEEDS = 40


def first_line(path: Path) -> str:
    return path.read_text().split("\n", maxsplit=1)[0]


TSAN = [path for path in FAIL if first_line(path).endswith(", tsan")]


def program(folder: Path, paths: list[Path], mode: Mode) -> Program:
    """Build kernels into one program: their names differ."""
    source = "".join(f'#line 1 "{path.name}"\n{path.read_text()}' for path in paths)
    return build(folder, source, f"{paths[0].parent.name}.cu", mode)


def run(made: Program, path: Path, **options: object) -> dict[str, np.ndarray]:
    launch = re.search(r"launch: (\d+) blocks of (\d+) threads, (\d+) words", path.read_text())
    assert launch is not None
    blocks, threads, words = map(int, launch.groups())
    buffers = {"data": Buffer(np.zeros(words, np.int32)), "counter": Buffer(np.zeros(1, np.uint32))}
    arguments = [pointer("data"), pointer("counter")]
    return made.run(path.stem, (blocks, threads, 4096), buffers, arguments, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["plain", "check", "threads", "tsan", "asan"])
def test_right_kernels_pass(grid_folder: Path, mode: Mode) -> None:
    made = program(grid_folder, PASS, mode)
    for path in PASS:
        run(made, path, seeds=(0, SEEDS if mode in {"plain", "check"} else 3))


@pytest.mark.parametrize("path", FAIL, ids=lambda path: path.stem)
def test_wrong_kernels_are_found(grid_folder: Path, path: Path) -> None:
    made = program(grid_folder, FAIL, "check")
    verdict = first_line(path).removeprefix("// fail: ").removesuffix(", tsan")
    with pytest.raises(GridError) as found:
        run(made, path, seeds=(0, SEEDS))
    assert found.value.fault.startswith(verdict)
    if verdict == "differs":  # no run is wrong by itself
        return
    # What was found is found again, from the schedule alone.
    with pytest.raises(GridError) as again:
        run(made, path, schedule=found.value.schedule)
    assert (again.value.fault, again.value.schedule) == (found.value.fault, found.value.schedule)


@pytest.mark.parametrize("path", TSAN, ids=lambda path: path.stem)
def test_races_are_found_by_thread_sanitizer_too(grid_folder: Path, path: Path) -> None:
    with pytest.raises(GridError, match="ThreadSanitizer: data race"):
        run(program(grid_folder, FAIL, "tsan"), path, seeds=(0, 20))


def test_a_race_names_both_lines(grid_folder: Path) -> None:
    path = ZOO / "fail" / "one_board.cu"
    lines = path.read_text().split("\n")
    writes = next(i for i, line in enumerate(lines, 1) if "= value;" in line and "data[blockIdx.x]" in line)
    reads = next(i for i, line in enumerate(lines, 1) if "fresh(" in line)
    with pytest.raises(GridError) as found:
        run(program(grid_folder, FAIL, "check"), path, seeds=(0, SEEDS))
    assert f"one_board.cu:{writes}" in found.value.fault
    assert f"one_board.cu:{reads}" in found.value.fault


def test_a_deadlock_says_who_waits_where(grid_folder: Path) -> None:
    with pytest.raises(GridError, match="deadlock") as found:
        run(program(grid_folder, FAIL, "check"), ZOO / "fail" / "half_the_blocks.cu")
    assert re.search(r"block 0: 1 threads poll at grid\.h:\d+", found.value.fault)
    assert "block 1: 32 threads have ended" in found.value.fault


def test_results_are_the_kernels(grid_folder: Path) -> None:
    made = program(grid_folder, PASS, "plain")
    boards = run(made, ZOO / "pass" / "two_boards.cu")["data"]
    assert boards[8:11].tolist() == [8, 6, 7]  # after five rounds each has its fifth neighbour's number and five
    assert run(made, ZOO / "pass" / "many_rounds.cu")["data"][0] == 40
    assert run(made, ZOO / "pass" / "shuffles.cu")["data"][:64].tolist() == [496 + 30_000 + 16] * 64
    assert run(made, ZOO / "pass" / "block_sum.cu")["data"][:2].tolist() == [2 * 127 * 64 + 1] * 2


def test_half_numbers_are_ieee(grid_folder: Path) -> None:
    source = """extern "C" __global__ void halves(float *data, unsigned *) {
        for (unsigned i = threadIdx.x; i < 65536; i += 32) data[i] = from_half((unsigned short)i); }"""
    made = build(grid_folder, source, "halves.cu", "plain")
    buffers = {"data": Buffer(np.zeros(65536, np.float32)), "counter": Buffer(np.zeros(1, np.uint32))}
    got = made.run("halves", (1, 32, 0), buffers, [pointer("data"), pointer("counter")])["data"]
    np.testing.assert_array_equal(got, np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32))


def test_every_animal_is_small_and_has_its_lines() -> None:
    assert len(PASS) >= 8
    assert len(FAIL) >= 16
    for path in ANIMALS:
        lines = path.read_text().split("\n")
        assert len(lines) <= 32, path.name
        assert re.match(
            r"// (pass|fail: (race|deadlock|out of bounds|unwritten|stale|differs|hang)(, tsan)?)$", lines[0]
        )
        assert path.stem in grid_host.KERNEL.findall(path.read_text())
