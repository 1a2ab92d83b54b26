"""Small random transducers as the native engine takes them, some with tokens that cannot be told apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.decoding import native
from tdt.kernels.fusion.automaton import Automaton, automaton
from tdt.onnxfile.walk import Linear, Matrix
from tdt.spec import ModelFiles, ModelSpec
from tdt.stages import Encoded
from tdt.surgery.decoder_weights import DecoderWeights, LstmLayer

if TYPE_CHECKING:
    import pytest

FILES = ModelFiles("onnx-asr", Path("none"), Path("none"), Path("none"))


def random_weights(
    rng: np.random.Generator,
    tokens: int,
    durations: tuple[int, ...],
    *,
    width: int = 12,
    layers: int = 1,
    spread: float = 1.0,
    blank_bias: float = 1.0,
    twins: bool = False,
) -> tuple[DecoderWeights, ModelSpec]:
    """Return a model of `tokens` pieces; `twins` makes every second one the same as the one before it."""

    def matrix(n: int, k: int, scale: float) -> Any:
        return Matrix((rng.standard_normal((n, k)) * scale / k**0.5).astype(np.float32))

    def vector(n: int) -> Any:
        return (rng.standard_normal(n) * 0.2).astype(np.float32)

    rows, bias = matrix(tokens + 1 + len(durations), width, 4 * spread), vector(tokens + 1 + len(durations))
    embedding = rng.standard_normal((tokens + 1, width)).astype(np.float32)
    bias[tokens] += blank_bias
    if twins:
        last = tokens // 2 * 2
        for array in (rows.values, bias, embedding):
            array[1:last:2] = array[0:last:2]
    weights = DecoderWeights(
        embedding=embedding,
        layers=tuple(
            LstmLayer(matrix(4 * width, width, 2), matrix(4 * width, width, 2), vector(4 * width))
            for _ in range(layers)
        ),
        encoder=Linear(matrix(width, width, 2), vector(width), ""),
        predictor=Linear(matrix(width, width, 2), vector(width), ""),
        output=Linear(rows, bias, ""),
        quantised=False,
    )
    pieces = tuple(str(token) for token in range(tokens + 1))
    return weights, ModelSpec("random", 80, 8, width, pieces, tokens, durations, layers, width, max_symbols=10)


def random_frames(rng: np.random.Generator, lengths: list[int], width: int) -> Encoded:
    """Return frames of utterances of these lengths."""
    frames = rng.standard_normal((len(lengths), max(lengths, default=0), width)).astype(np.float32)
    return Encoded(frames, np.array(lengths, np.int64))


def random_automaton(rng: np.random.Generator, tokens: int, states: int = 9) -> Automaton:
    """Return an automaton of failures to states before, and some arcs."""
    starts, labels = [0, 0], []
    for _ in range(1, states):
        own = sorted(rng.choice(tokens, size=min(tokens, int(rng.integers(1, 4))), replace=False).tolist())
        labels += own
        starts.append(len(labels))
    return automaton(
        arc_starts=starts,
        labels=labels,
        targets=rng.integers(0, states, len(labels)),
        weights=rng.normal(0, 2, len(labels)),
        backoffs=[0, *(int(rng.integers(0, state)) for state in range(1, states))],
        backoff_weights=[0, *rng.normal(0, 1, states - 1)],
        root_weights=rng.normal(0, 1, tokens),
        root_targets=rng.integers(0, states, tokens),
        start=int(rng.integers(0, states)),
    )


def engine_of(monkeypatch: pytest.MonkeyPatch, model: tuple[DecoderWeights, ModelSpec], **options: Any) -> Any:
    """Return a native engine on these weights."""
    weights, spec = model
    monkeypatch.setattr(native, "lift", lambda *_: weights)
    return native.NativeEngine(FILES, spec, **options)
