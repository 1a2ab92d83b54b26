"""The decoder on the card, run on the host with all blocks at once: any network, any utterance, against plain loops.

Real: the source, its arguments, barriers, races (see grid/). Not real: the device, its speed, its rounding of sums.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tdt.kernels.decoder import greedy_fields as fields

from .greedy_host import Decoded, Network, decode, program, triples
from .greedy_oracle import barriers, expected, random_network, rounded_to_half, scripted_network

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CONTRACTS = bool(os.environ.get("TDT_GPU_CONTRACTS"))
N_RANDOM = 10_000 if os.environ.get("TDT_GPU_CONTRACTS") == "full" else 500
if not CONTRACTS and shutil.which("g++") is None:
    pytest.skip("needs g++", allow_module_level=True)


def frames_of(network: Network, rng: np.random.Generator, lengths: Sequence[int]) -> np.ndarray:
    shape = (len(lengths), max(*lengths, 1), len(network.predictor[1]))
    return rng.standard_normal(shape).astype(np.float32)


def check(made: Any, network: Network, frames: np.ndarray, lengths: Sequence[int], **options: Any) -> Decoded:
    """Compare a batch with the loops: emissions, scores, where each ended, and the barriers it took."""
    decoded = decode(made, network, frames, lengths, **options)
    wanted = [expected(network, row, length) for row, length in zip(frames, lengths, strict=True)]
    assert triples(decoded) == [one.emissions for one in wanted]
    for one, scores, clock in zip(wanted, decoded.scores, decoded.clock, strict=True):
        np.testing.assert_allclose(scores[:, 0], one.logprobs, atol=1e-5)
        np.testing.assert_allclose(scores[:, 1], one.powers, atol=1e-5, rtol=1e-5)
        assert clock[fields.TIME] == one.time
    count = barriers(wanted, len(network.layers), options.get("rows", 8))
    assert decoded.report.tolist() == [fields.DONE, -1, 0, count]
    return decoded


# --- any network, any utterance ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(N_RANDOM // 125))
def test_random_utterances(grid_folder: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = random_network(
        seed,
        layers=1 + seed % 3,
        hidden=int(rng.integers(1, 20)),
        joint=int(rng.integers(1, 24)),
        tokens=int(rng.integers(2, 30)),
        durations=[(0, 1, 2, 4), (1,), (0, 3), (2, 0, 1, 5, 1)][seed % 4],
        max_symbols=int(rng.integers(1, 5)),
    )
    lengths = rng.integers(0, 9, 125)
    rows = (8, 16)[seed % 2]
    check(
        program(grid_folder, "plain", rows=rows), network, frames_of(network, rng, lengths), lengths, rows=rows,
        blocks=1 + seed % 5, warps=1 + seed % 4, seeds=(seed, 1),
    )  # fmt: skip


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 128])
def test_any_batch(grid_folder: Path, batch: int) -> None:
    rng = np.random.default_rng(batch)
    network = random_network(5, layers=2)
    lengths = rng.integers(1, 12, batch)
    check(program(grid_folder, "plain"), network, frames_of(network, rng, lengths), lengths, seeds=(0, 2))


@pytest.mark.parametrize("half", [False, True])
def test_weights_that_stay_are_the_others(grid_folder: Path, half: bool) -> None:
    rng = np.random.default_rng(22)
    network, lengths = random_network(7, layers=3, hidden=16, tokens=60), [9, 4, 7]
    frames, made = frames_of(network, rng, lengths), program(grid_folder, "plain", half=half)
    none = decode(made, network, frames, lengths, half=half, keep=0.0)
    for keep in (0.1, 0.4, 0.7, 1.0):
        some = decode(made, network, frames, lengths, half=half, keep=keep)
        for one, other in zip((*some.emissions, *some.scores), (*none.emissions, *none.scores), strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(some.cell, none.cell)


def test_a_kernel_for_one_model_gives_the_same(grid_folder: Path) -> None:
    rng = np.random.default_rng(23)
    network, lengths = random_network(8, layers=2, hidden=24), [9, 4, 7]
    frames = frames_of(network, rng, lengths)
    own = program(grid_folder, "plain", sizes=network.packed(half=False)[0])
    one, other = (decode(made, network, frames, lengths) for made in (own, program(grid_folder, "plain")))
    assert triples(one) == triples(other)
    np.testing.assert_array_equal(one.cell, other.cell)


def test_a_row_depends_on_nothing_beside_it(grid_folder: Path) -> None:
    rng = np.random.default_rng(21)
    network, lengths = random_network(6, layers=2, hidden=16), [9, 4, 7, 9, 1, 8, 9, 5, 6, 3]
    frames, made = frames_of(network, rng, lengths), program(grid_folder, "plain")
    together = decode(made, network, frames, lengths)
    for row in range(len(lengths)):
        alone = decode(made, network, frames[row : row + 1], lengths[row : row + 1])
        np.testing.assert_array_equal(alone.emissions[0], together.emissions[row])
        np.testing.assert_array_equal(alone.scores[0], together.scores[row])
        np.testing.assert_array_equal(alone.hidden[:, 0], together.hidden[:, row])


@pytest.mark.parametrize(("durations", "cap"), [((0, 2, 1), 1), ((0, 2, 1), 3), ((1, 2, 3), 0)])
@pytest.mark.parametrize("rows", [8, 16])
def test_scripted_utterances_with_ties_caps_and_jumps(
    grid_folder: Path, durations: tuple[int, ...], cap: int, rows: int
) -> None:
    rng = np.random.default_rng(11)
    # 65 tokens and the blank over four blocks of two warps: equals meet in a lane, between lanes, warps and blocks.
    network = scripted_network(66, durations, cap)
    frames = np.zeros((100, 6, 69), np.float32)
    for _ in range(3):
        np.put_along_axis(frames, rng.integers(0, 66, (100, 6, 1)), 2, axis=2)
    frames[..., 65] = rng.integers(1, 3, (100, 6))
    frames[..., 66:] = rng.integers(0, 2, (100, 6, 3))
    lengths = rng.integers(0, 7, 100)
    check(program(grid_folder, "plain", rows=rows), network, frames, lengths, rows=rows, blocks=4)


def test_half_weights_are_the_rounded_ones(grid_folder: Path) -> None:
    rng = np.random.default_rng(31)
    for rows in (8, 16):
        network = random_network(32, layers=2, hidden=24, joint=40, tokens=70)
        rounded = rounded_to_half(network)
        lengths = rng.integers(1, 12, 19)
        frames = frames_of(network, rng, lengths)
        made = program(grid_folder, "plain", rows=rows, half=True)
        decoded = decode(made, network, frames, lengths, rows=rows, half=True)
        plain = decode(program(grid_folder, "plain", rows=rows), rounded, frames, lengths, rows=rows)
        assert triples(decoded) == triples(plain)
        for one, other in zip(decoded.scores, plain.scores, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


# --- carried on, stopped ----------------------------------------------------------------------------------------------


def test_pieces_carry_on(grid_folder: Path) -> None:
    rng = np.random.default_rng(41)
    network, lengths = random_network(42, layers=2, durations=(0, 1, 2, 7)), np.array([23, 17, 20])
    frames, made = frames_of(network, rng, lengths), program(grid_folder, "plain")
    whole = decode(made, network, frames, lengths)
    found: list[list[tuple[int, int, int]]] = [[] for _ in lengths]
    piece: Decoded | None = None
    times = np.zeros(3, int)
    for begin, stop in ((0, 1), (1, 9), (9, 9), (9, 10), (10, 23)):
        part = np.clip(lengths - begin, 0, stop - begin)
        given = frames[:, begin:stop] if stop > begin else frames[:, :1]
        piece = decode(made, network, given, part, start=piece, times=times)
        for row, emitted in enumerate(triples(piece)):
            found[row] += [(token, frame + begin, step) for token, frame, step in emitted]
        times = np.maximum(piece.clock[:, fields.TIME] - part, 0)
    assert found == triples(whole)
    assert piece is not None
    np.testing.assert_array_equal(piece.hidden, whole.hidden)
    np.testing.assert_array_equal(piece.cell, whole.cell)


@pytest.mark.parametrize("capacity", [1, 2, 5])
def test_a_full_buffer_stops_the_launch_and_the_next_goes_on(grid_folder: Path, capacity: int) -> None:
    rng = np.random.default_rng(43)
    network, lengths = random_network(44, blank_bias=-2.0, max_symbols=4), [6, 0, 5]
    frames, made = frames_of(network, rng, lengths), program(grid_folder, "plain")
    whole = decode(made, network, frames, lengths)
    found: list[list[tuple[int, int, int]]] = [[] for _ in lengths]
    piece = decode(made, network, frames, lengths, capacity=capacity)
    launches = 1
    while True:
        for row, emitted in enumerate(triples(piece)):
            found[row] += emitted
        if piece.report[fields.STATUS] == fields.DONE:
            break
        assert piece.report[fields.STATUS] == fields.FULL
        assert len(piece.emissions[piece.report[fields.ROW]]) == capacity
        piece = decode(made, network, frames, lengths, capacity=capacity, start=piece)
        launches += 1
    assert found == triples(whole)
    assert launches >= max(map(len, found)) / capacity
    np.testing.assert_array_equal(piece.hidden, whole.hidden)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
@pytest.mark.parametrize("logit", [0, 2, 5])
def test_logits_that_are_not_finite_stop_where_they_are_reached(grid_folder: Path, value: float, logit: int) -> None:
    network = scripted_network(3, (0, 1, 2), 3)
    network.output[0][:] *= 10  # the third value makes one logit infinite, the others all of them NaN
    frames = np.zeros((2, 6, 6), np.float32)
    frames[..., 2], frames[..., 4] = 3, 3  # blanks that move by one
    frames[0, 0, 5], frames[0, 1, logit] = 9, value  # frame 1 of utterance 0 is jumped over
    frames[1, 4, logit] = value
    made = program(grid_folder, "plain")
    decoded = decode(made, network, frames, [6, 6])
    assert decoded.report[: fields.BARRIERS].tolist() == [fields.NOT_FINITE, 1, 4]
    assert decode(made, network, frames, [6, 4]).report[fields.STATUS] == fields.DONE
