"""The native loop on networks whose logits are small integers: exact in any order of summing, and full of ties."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tdt.decoding import native
from tdt.onnxfile.walk import Linear, Matrix
from tdt.spec import ModelFiles, ModelSpec
from tdt.stages import Encoded
from tdt.surgery.decoder_weights import DecoderWeights, LstmLayer

from .. import naive
from .test_native_engine import events

TOKENS, UNITS = 4, 6  # tokens without the blank; hidden units of the joint that each last label switches on
FILES = ModelFiles("onnx-asr", Path("none"), Path("none"), Path("none"))
SATURATED = 100.0


def scripted(
    rng: np.random.Generator, durations: tuple[int, ...], max_symbols: int
) -> tuple[DecoderWeights, ModelSpec]:
    """Return a network whose joint sees, of the integers in a frame, those that belong to the last label.

    The LSTM forgets at once; its unit j is 0 after label j and -0.76 after any other, which the joint's projection
    makes large enough for ReLU to switch that label's units off.
    """
    labels = TOKENS + 1
    joint = labels * UNITS
    gates = np.zeros((4, labels, labels), np.float32)
    gates[3] = SATURATED * np.eye(labels)
    bias = np.repeat([SATURATED, SATURATED, -SATURATED, -SATURATED], labels).astype(np.float32)
    layer = LstmLayer(
        Matrix(gates.reshape(4 * labels, labels)), Matrix(np.zeros((4 * labels, labels), np.float32)), bias
    )
    switch = 1000 * np.repeat(np.eye(labels, dtype=np.float32), UNITS, axis=0)
    rows = rng.integers(-2, 3, (labels + len(durations), joint)).astype(np.float32)
    output_bias = rng.integers(-2, 3, len(rows)).astype(np.float32)
    weights = DecoderWeights(
        embedding=np.eye(labels, dtype=np.float32),
        layers=(layer,),
        encoder=Linear(Matrix(np.eye(joint, dtype=np.float32)), np.zeros(joint, np.float32), ""),
        predictor=Linear(Matrix(switch), np.zeros(joint, np.float32), ""),
        output=Linear(Matrix(rows), output_bias, ""),
        quantised=False,
    )
    pieces = tuple(str(token) for token in range(labels))
    spec = ModelSpec("scripted", 80, 8, joint, pieces, TOKENS, durations, 1, labels, max_symbols=max_symbols)
    return weights, spec


def cases(seed: int, count: int) -> tuple[DecoderWeights, ModelSpec, Encoded]:
    rng = np.random.default_rng(seed)
    durations = ((0, 1, 2, 3, 4), (0, 1), (0, 2, 5), (0,), (4, 0, 1))[seed % 5]
    weights, spec = scripted(rng, durations, max_symbols=int(rng.integers(1, 6)))
    frames = rng.integers(0, 4, (count, 6, spec.encoder_dim)).astype(np.float32)
    return weights, spec, Encoded(frames, rng.integers(0, 7, count))


@pytest.mark.parametrize("mode", [{"screening": False}, {"screening": True}, {"screening": True, "window": 4}])
def test_ten_thousand_random_utterances(monkeypatch: pytest.MonkeyPatch, mode: dict[str, Any]) -> None:
    """250 utterances of each of 40 networks; a third of these models' decisions are ties."""
    emitted = ties = 0
    for seed in range(40):
        weights, spec, encoded = cases(seed, 250)
        monkeypatch.setattr(native, "lift", lambda *_, weights=weights: weights)
        found, states = native.NativeEngine(FILES, spec, **mode).decode(encoded)
        for frames, length, hypothesis, state in zip(encoded.frames, encoded.lengths, found, states, strict=True):
            network = naive.Network(weights, frames, spec.blank_id)
            expected, beyond = naive.greedy_tdt(
                network, int(length), spec.durations, spec.blank_id, max_symbols=spec.max_symbols
            )
            assert events(hypothesis) == expected
            assert state.skip == beyond
            assert state.label == (expected[-1][0] if expected else spec.blank_id)
            emitted += len(expected)
            ties += sum(int((row == row.max()).sum() > 1) for row in network.rows)
    assert emitted > 10_000
    assert ties > 1000


@pytest.mark.parametrize("cut", [0, 1, 3, 5])
def test_pieces_carry_jumps_and_labels(monkeypatch: pytest.MonkeyPatch, cut: int) -> None:
    for seed in range(5):
        weights, spec, encoded = cases(seed, 50)
        monkeypatch.setattr(native, "lift", lambda *_, weights=weights: weights)
        engine = native.NativeEngine(FILES, spec)
        whole, ends = engine.decode(encoded)
        first, states = engine.decode(Encoded(encoded.frames[:, :cut], np.minimum(encoded.lengths, cut)))
        second, after = engine.decode(Encoded(encoded.frames[:, cut:], np.maximum(encoded.lengths - cut, 0)), states)
        for index, hypothesis in enumerate(whole):
            assert events(first[index]) + events(second[index]) == events(hypothesis)
            assert (after[index].skip, after[index].label) == (ends[index].skip, ends[index].label)


def test_equal_rows_beyond_the_screened_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """More equal best rows than the screening may keep: the full product decides, and the first of them wins."""
    rng = np.random.default_rng(3)
    tokens, width = 2000, 64
    rows = rng.standard_normal((tokens + 1 + 2, width)).astype(np.float32) * 0.01
    rows[700:1500] = np.abs(rng.standard_normal(width)).astype(np.float32)
    small = np.zeros((4 * width, width), np.float32)
    zeros = np.zeros(width, np.float32)
    weights = DecoderWeights(
        embedding=np.zeros((tokens + 1, width), np.float32),
        layers=(LstmLayer(Matrix(small), Matrix(small), np.zeros(4 * width, np.float32)),),
        encoder=Linear(Matrix(np.eye(width, dtype=np.float32)), zeros, ""),
        predictor=Linear(Matrix(np.zeros((width, width), np.float32)), zeros, ""),
        output=Linear(Matrix(rows), np.zeros(len(rows), np.float32), ""),
        quantised=False,
    )
    spec = ModelSpec("ties", 80, 8, width, tuple(map(str, range(tokens + 1))), tokens, (0, 1), 1, width, max_symbols=2)
    monkeypatch.setattr(native, "lift", lambda *_: weights)
    engine = native.NativeEngine(FILES, spec, screening=True)
    frames = np.abs(rng.standard_normal((1, 3, width))).astype(np.float32)
    (found,), _ = engine.decode(Encoded(frames, np.array([3])))
    assert set(found.token_ids.tolist()) == {700}
    assert engine.counters[engine._runs.fields.FALLBACKS] > 0
    assert np.allclose(found.logprobs[0], -np.log(800), atol=0.1)
