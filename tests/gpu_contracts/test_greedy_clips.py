"""The decoder on the card, run on the host: golden and evaluation clips against NeMo and the native engine."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tdt
from tdt.decoding.native import NativeEngine
from tdt.kernels.decoder import greedy_fields as fields
from tdt.model.finding import find_model
from tdt.stages import Encoded
from tdt.surgery.lifting import lift
from tdt.text.detokenizer import detokenizer

from .greedy_host import Decoded, decode, lifted_network, program, triples

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .greedy_host import Network

CONTRACTS = bool(os.environ.get("TDT_GPU_CONTRACTS"))
if not CONTRACTS and shutil.which("g++") is None:
    pytest.skip("needs g++", allow_module_level=True)


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


@pytest.fixture(scope="module")
def evaluation(eval_folder: Path, models: Path) -> Any:
    """The evaluation clips through the project's encoder, and what NeMo heard in them."""
    answers = json.loads((eval_folder / "nemo_hyps.json").read_text())
    with tdt.load(models / "parakeet-tdt-tiny-onnx") as asr:
        encoded = [asr.encode(asr.features([eval_folder / clip])) for clip in answers]
        files, spec = asr.files, asr.spec
    lengths = np.array([int(one.lengths[0]) for one in encoded])
    frames = np.zeros((len(encoded), lengths.max(), spec.encoder_dim), np.float32)
    for row, one in enumerate(encoded):
        frames[row, : lengths[row]] = one.frames[0, : lengths[row]]
    lifted = lift(files, spec)
    texts = [answer["nemo"] for answer in answers.values()]
    return (
        lifted_network(lifted, spec),
        NativeEngine(files, spec),
        lifted.encoder,
        Encoded(frames, lengths),
        texts,
        spec.pieces,
    )


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


@pytest.mark.parametrize("blocks", range(1, 9) if CONTRACTS else (3,))
def test_goldens_are_nemos(grid_folder: Path, tiny: Any, golden_batch: Any, blocks: int) -> None:
    network, native, encoder = tiny
    frames, lengths, answers = golden_batch
    projected = frames @ encoder.matrix.values.T + encoder.bias
    decoded = decode(program(grid_folder, "plain"), network, projected, lengths, blocks=blocks, seeds=(blocks, 1))
    for rows, answer in zip(triples(decoded), answers, strict=True):
        columns = (answer["token_ids"], answer["token_frames"], answer["token_durations"])
        assert rows == list(zip(*columns, strict=True))
    compare(decoded, *native.decode(Encoded(frames, lengths)), lengths)


@pytest.mark.skipif(not CONTRACTS, reason="the goldens go through here always, the other clips with the contracts")
@pytest.mark.parametrize(("rows", "sizes"), [(8, (1, 7, 8, 26)), (16, (42,)), (8, (42,))])
def test_evaluation_clips_are_nemos(grid_folder: Path, evaluation: Any, rows: int, sizes: tuple[int, ...]) -> None:
    network, native, encoder, encoded, texts, pieces = evaluation
    projected = encoded.frames @ encoder.matrix.values.T + encoder.bias
    first = 0
    for size in sizes:
        part = slice(first, first + size)
        first += size
        made = program(grid_folder, "plain", rows=rows)
        decoded = decode(made, network, projected[part], encoded.lengths[part], rows=rows, blocks=2, seeds=(size, 1))
        wanted, states = native.decode(Encoded(encoded.frames[part], encoded.lengths[part]))
        compare(decoded, wanted, states, encoded.lengths[part])
        assert [detokenizer(pieces).text(rows[:, 0]) for rows in decoded.emissions] == texts[part]
    assert first == 42
