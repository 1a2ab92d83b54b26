"""The micro model: a fine-tuned checkpoint, the export of another model of its shapes, and NeMo's own outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from tdt.model import find_model

FOLDER = Path(__file__).resolve().parents[1] / "data/conversion/micro"
NEMO, GRAPH = FOLDER / "fine-tuned.nemo", FOLDER / "graph"
TOLERANCE = 1e-4


def session(path: Path) -> Any:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def run(path: Path, *values: Any) -> list[Any]:
    """Run a graph with inputs in order, in the types it takes."""
    opened = session(path)
    kinds = {"tensor(int32)": np.int32, "tensor(int64)": np.int64}
    feeds = {
        port.name: np.asarray(value, kinds.get(port.type, np.float32))
        for port, value in zip(opened.get_inputs(), values, strict=True)
    }
    return list(opened.run(None, feeds))


def encoded(folder: Path) -> tuple[Any, Any]:
    """Return the encoder's frames [B, T, D] and their lengths for the expected features."""
    expected = np.load(FOLDER / "expected.npz")
    files, _ = find_model(folder)
    frames, lengths = run(files.encoder, expected["features"], expected["feature_lengths"])
    return frames.transpose(0, 2, 1), lengths


def decoded(folder: Path) -> tuple[Any, Any]:
    """Return the prediction network's outputs [B, U, H], where a graph gives them, and the joint's [B, T, U, V]."""
    expected = np.load(FOLDER / "expected.npz")
    files, spec = find_model(folder)
    states = np.zeros((2, spec.predictor_layers, 1, spec.predictor_hidden), np.float32)
    targets = np.concatenate([[[spec.blank_id]], expected["targets"]], axis=1)
    frames = expected["encoder"][:1, :6].transpose(0, 2, 1)
    label = (targets, [targets.shape[1]], *states)
    if files.decoder_joint is not None:
        return None, run(files.decoder_joint, frames, *label)[0]
    prediction = run(files.decoder, *label)[0]
    return prediction.transpose(0, 2, 1), run(files.joiner, frames, prediction)[0]


def agree(folder: Path) -> None:
    """Compare a folder's model with what NeMo computed."""
    expected = np.load(FOLDER / "expected.npz")
    frames, lengths = encoded(folder)
    assert lengths.tolist() == expected["encoder_lengths"].tolist()
    for ours, theirs, count in zip(frames, expected["encoder"], lengths, strict=True):
        assert np.abs(ours[:count] - theirs[:count]).max() <= TOLERANCE
    prediction, logits = decoded(folder)
    if prediction is not None:
        assert np.abs(prediction - expected["predictor"]).max() <= TOLERANCE
    # NeMo's joint on the CPU ends in a log-softmax over all outputs; the export leaves that out.
    normalised = logits - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True))
    normalised -= logits.max(-1, keepdims=True)
    assert np.abs(normalised - expected["joint"]).max() <= TOLERANCE
