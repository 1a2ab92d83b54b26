"""The decoder on the card, run on the host with all blocks at once: what it gives against NeMo, the native engine, loops.

Real: the source, its arguments, barriers, races (see grid/). Not real: the device, its speed, its rounding of sums.
"""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tdt.decoding.native import NativeEngine
from tdt.kernels.decoder import greedy_fields as fields
from tdt.model.finding import find_model
from tdt.stages import Encoded
from tdt.surgery.lifting import lift

from .greedy_host import Decoded, Network, decode, lifted_network, program
from .greedy_oracle import barriers, expected, random_network, scripted_network

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

if not os.environ.get("TDT_GPU_CONTRACTS") and shutil.which("g++") is None:
    pytest.skip("needs g++", allow_module_level=True)


def triples(decoded: Decoded) -> list[list[tuple[int, int, int]]]:
    return [[tuple(line) for line in rows.tolist()] for rows in decoded.emissions]


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


# --- the model's own clips --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(model_folder: Path) -> tuple[Network, NativeEngine, Any]:
    files, spec = find_model(model_folder)
    lifted = lift(files, spec)
    return lifted_network(lifted, spec), NativeEngine(files, spec), lifted.encoder


@pytest.fixture(scope="module")
def golden_batch(golden_folder: Path, goldens: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, list[Any]]:
    outs = []
    for clip in goldens:
        with np.load(golden_folder / f"{clip}.npz") as arrays:
            outs.append(arrays["encoder_out"].T)
    frames = np.zeros((len(outs), max(map(len, outs)), outs[0].shape[1]), np.float32)
    for row, out in enumerate(outs):
        frames[row, : len(out)] = out
    answers = [clip.get("unpadded") or clip for clip in goldens.values()]
    return frames, np.array([clip["encoder_len"] for clip in goldens.values()]), answers


def compare(decoded: Decoded, hypotheses: Sequence[Any], states: Sequence[Any], lengths: np.ndarray) -> None:
    """Compare a batch with the native engine."""
    for row, (hypothesis, state) in enumerate(zip(hypotheses, states, strict=True)):
        columns = np.stack([hypothesis.token_ids, hypothesis.frames, hypothesis.durations], axis=1)
        np.testing.assert_array_equal(decoded.emissions[row], columns)
        np.testing.assert_allclose(decoded.scores[row][:, 0], hypothesis.logprobs, atol=1e-5)
        label, over = decoded.clock[row, fields.LABEL], decoded.clock[row, fields.TIME] - lengths[row]
        assert (label, over) == (state.label, state.skip)
        np.testing.assert_allclose(decoded.hidden[:, row, : state.hidden.shape[1]], state.hidden, atol=1e-5)
        np.testing.assert_allclose(decoded.cell[:, row, : state.cell.shape[1]], state.cell, atol=1e-5)


@pytest.mark.parametrize("blocks", range(1, 9))
def test_goldens_are_nemos(
    grid_folder: Path, tiny: Any, golden_batch: Any, blocks: int
) -> None:
    network, native, encoder = tiny
    frames, lengths, answers = golden_batch
    projected = frames @ encoder.matrix.values.T + encoder.bias
    decoded = decode(program(grid_folder, "plain"), network, projected, lengths, blocks=blocks, seeds=(blocks, 1))
    for rows, answer in zip(triples(decoded), answers, strict=True):
        columns = (answer["token_ids"], answer["token_frames"], answer["token_durations"])
        assert rows == list(zip(*columns, strict=True))
    compare(decoded, *native.decode(Encoded(frames, lengths)), lengths)
