"""The decoder on the card under explored schedules and sanitizers; then broken on purpose, each break to be found.

A break that its check does not find fails the suite: the checks are worth what they find.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tdt.kernels.decoder import greedy_fields as fields

from .greedy_host import decode, program
from .greedy_oracle import expected, random_network, rounded_to_half, scripted_network
from .grid_host import GridError
from .test_greedy_host import check, frames_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .grid_host import Mode, Program

if not os.environ.get("TDT_GPU_CONTRACTS") and shutil.which("g++") is None:
    pytest.skip("needs g++", allow_module_level=True)


def explored(made: Program, seeds: int = 12) -> None:
    """Small shapes, three blocks of two warps: every access checked, the same bytes under every schedule."""
    rng = np.random.default_rng(1)
    # The third is all blanks: evaluations with no prediction between; then more rows than a pass, then nothing to do.
    for layers, lengths, blanks in (
        (1, [3], 0.0),
        (2, [3, 0, 4], 0.0),
        (1, [20], 9.0),
        (1, [2] * 9, 0.0),
        (1, [0], 0.0),
    ):
        network = random_network(3, layers=layers, joint=9, tokens=9, durations=(1, 0), blank_bias=blanks)
        check(made, network, frames_of(network, rng, lengths), lengths, blocks=3, warps=2, seeds=(0, seeds))


def batches(made: Program) -> None:
    """More rows than a pass, several grids; odd sizes."""
    rng = np.random.default_rng(2)
    for blocks, batch in ((1, 1), (2, 13), (3, 40)):
        network = random_network(batch, layers=3, hidden=10, joint=14, tokens=15, durations=(0, 1, 3), blank_bias=0.0)
        lengths = rng.integers(0, 9, batch)
        check(made, network, frames_of(network, rng, lengths), lengths, blocks=blocks, warps=3)
    for blocks in (40, 170):  # more than a warp gathers a line a lane of, and than it gathers at once
        network = random_network(blocks, tokens=4 * blocks)
        check(made, network, frames_of(network, rng, [4, 3]), [4, 3], blocks=blocks, warps=1)


def ties(made: Program) -> None:
    """Equal logits in a lane, between lanes, warps and blocks; durations of 0; caps."""
    rng = np.random.default_rng(3)
    network = scripted_network(66, (0, 2, 1), 2)
    for batch, blocks in ((60, 4), (3, 2), (1, 3)):
        frames = np.zeros((batch, 9, 69), np.float32)
        for _ in range(3):
            values = rng.integers(0, 3, (batch, 9, 1))
            np.put_along_axis(frames, rng.integers(0, 66, (batch, 9, 1)), values, axis=2)
        frames[..., 65] = rng.integers(1, 3, (batch, 9))
        frames[..., 66:] = rng.integers(0, 2, (batch, 9, 3))
        check(made, network, frames, rng.integers(5, 10, batch), blocks=blocks)


def carried(made: Program) -> None:
    """Two pieces leave what one leaves; a full buffer stops in time and goes on."""
    rng = np.random.default_rng(4)
    network, lengths = random_network(5, layers=2, blank_bias=-1.0), np.array([9, 8])
    frames = frames_of(network, rng, lengths)
    whole = decode(made, network, frames, lengths)
    first = decode(made, network, frames[:, :4], [4, 4])
    over = np.maximum(first.clock[:, fields.TIME] - 4, 0)
    second = decode(made, network, frames[:, 4:], lengths - 4, start=first, times=over)
    for row in range(2):
        later = second.emissions[row] + [0, 4, 0]
        np.testing.assert_array_equal(np.concatenate([first.emissions[row], later]), whole.emissions[row])
    np.testing.assert_array_equal(second.hidden, whole.hidden)
    np.testing.assert_array_equal(second.cell, whole.cell)
    full = decode(made, network, frames, lengths, capacity=2)
    assert full.report[fields.STATUS] == fields.FULL
    assert max(map(len, full.emissions)) == 2


def finite(made: Program) -> None:
    """NaN and infinity are told where they are reached, and only there."""
    for value in (np.nan, 3e38):
        network = scripted_network(3, (0, 1, 2), 3)
        network.output[0][:] *= 10
        frames = np.zeros((2, 6, 6), np.float32)
        frames[..., 2], frames[..., 4] = 3, 3
        frames[0, 0, 5], frames[0, 1, 5], frames[1, 4, 0] = 9, value, value
        decoded = decode(made, network, frames, [6, 6])
        assert decoded.report[: fields.BARRIERS].tolist() == [fields.NOT_FINITE, 1, 4]


def halves(made: Program) -> None:
    """Float16 weights give what their values give in float32."""
    rng = np.random.default_rng(6)
    network = random_network(7, layers=2, hidden=24, joint=40, tokens=70)
    lengths = rng.integers(1, 9, 9)
    frames = frames_of(network, rng, lengths)
    decoded = decode(made, network, frames, lengths, half=True)
    for row, length in enumerate(lengths):
        one = expected(rounded_to_half(network), frames[row], length)
        assert [tuple(line) for line in decoded.emissions[row].tolist()] == one.emissions
        np.testing.assert_allclose(decoded.scores[row][:, 0], one.logprobs, atol=1e-5)


CHECKS: dict[str, tuple[Callable[[Program], None], Mode, bool]] = {
    "explored": (explored, "check", False),
    "batches": (batches, "plain", False),
    "ties": (ties, "plain", False),
    "carried": (carried, "check", False),
    "finite": (finite, "plain", False),
    "halves": (halves, "plain", True),
}


@pytest.mark.parametrize("name", CHECKS)
def test_the_kernel_passes(grid_folder: Path, name: str) -> None:
    one, mode, half = CHECKS[name]
    one(program(grid_folder, mode, half=half))


@pytest.mark.parametrize("rows", [8, 16])
@pytest.mark.parametrize("mode", ["tsan", "asan"])
def test_sanitizers_are_silent(grid_folder: Path, mode: Mode, rows: int) -> None:
    rng = np.random.default_rng(8)
    made = program(grid_folder, mode, rows=rows)
    for blocks, lengths in ((3, [4, 0, 3]), (2, [3] * 18)):
        network = random_network(9, layers=2, blank_bias=0.0)
        frames = frames_of(network, rng, lengths)
        check(made, network, frames, lengths, rows=rows, blocks=blocks, seeds=(0, 3))


def breaks() -> list[tuple[str, str, str]]:
    """Read the table: name of the check and what is wrong, lines as they are, lines as they are to be."""
    found = []
    text = (Path(__file__).parent / "greedy_breaks.diff").read_text()
    for part in text.split("\n# ")[1:]:
        name, *lines = part.rstrip().split("\n")
        old, new = (
            "".join(f"{line[1:]}\n" for line in lines if line[:1] in {sign, " ", ""}) for sign in ("-", "+")
        )  # fmt: skip
        found.append((name, old, new))
    return found


BREAKS = breaks()


@pytest.mark.parametrize(("name", "old", "new"), BREAKS, ids=[name for name, *_ in BREAKS])
def test_a_break_is_found(grid_folder: Path, name: str, old: str, new: str) -> None:
    one, mode, half = CHECKS[name.partition(":")[0]]
    broken = program(grid_folder, mode, half=half, changes={old: new})
    with pytest.raises((AssertionError, GridError)):
        one(broken)


def test_every_check_finds_something() -> None:
    assert {name.partition(":")[0] for name, *_ in BREAKS} == set(CHECKS)
    assert len({name for name, *_ in BREAKS}) == len(BREAKS) >= 20
