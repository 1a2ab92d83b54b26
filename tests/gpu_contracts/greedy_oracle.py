"""What the decoder on the card must give, by plain loops in float64, and small networks to give it to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tdt.kernels.decoder.greedy_layout import Layer

from .. import naive
from .greedy_host import Network

if TYPE_CHECKING:
    from collections.abc import Sequence

ALPHA = 0.33
FEW_ROWS = 4  # in greedy_rows.h: frames that one utterance looks at after a token


def random_network(
    seed: int,
    *,
    layers: int = 1,
    hidden: int = 8,
    joint: int = 12,
    tokens: int = 13,
    durations: Sequence[int] = (0, 1, 2, 4),
    max_symbols: int = 3,
    blank_bias: float = 1.0,
) -> Network:
    """Return a network whose utterances emit about every second frame; `tokens` counts the blank."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
        return (rng.standard_normal(shape) * scale).astype(np.float32)

    stack = [
        Layer(normal(4 * hidden, hidden, scale=0.6), normal(4 * hidden, hidden, scale=0.6), normal(4 * hidden))
        for _ in range(layers)
    ]
    bias = normal(tokens + len(durations))
    bias[tokens - 1] += blank_bias
    output = normal(tokens + len(durations), joint)
    predictor = normal(joint, hidden), normal(joint)
    return Network(normal(tokens, hidden), tuple(stack), predictor, (output, bias), tuple(durations), max_symbols)


def scripted_network(tokens: int, durations: Sequence[int], max_symbols: int) -> Network:
    """Return a network whose logits are the projected frame itself (numbers from 0 on), whatever was said before."""
    width = tokens + len(durations)
    zero = np.zeros((32, 8), np.float32)
    layer = Layer(zero, zero, np.zeros(32, np.float32))
    predictor = np.zeros((width, 8), np.float32), np.zeros(width, np.float32)
    output = np.eye(width, dtype=np.float32), np.zeros(width, np.float32)
    return Network(np.zeros((tokens, 8), np.float32), (layer,), predictor, output, tuple(durations), max_symbols)


def rounded_to_half(network: Network) -> Network:
    """Return the network whose matrices hold what float16 makes of them; the first layer's inputs stay."""

    def rounded(matrix: np.ndarray) -> np.ndarray:
        return matrix.astype(np.float16).astype(np.float32)

    first, *others = network.layers
    layers = [Layer(first.inputs, rounded(first.recurrent), first.bias)]
    layers += [Layer(rounded(layer.inputs), rounded(layer.recurrent), layer.bias) for layer in others]
    return replace(
        network,
        layers=tuple(layers),
        predictor=(rounded(network.predictor[0]), network.predictor[1]),
        output=(rounded(network.output[0]), network.output[1]),
    )


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


class Predictor:
    """The prediction network of one utterance in float64."""

    def __init__(self, network: Network) -> None:
        self.network = network
        size = (len(network.layers), network.predictor[0].shape[1])
        self.hidden, self.cell = np.zeros(size), np.zeros(size)

    def feed(self, label: int) -> np.ndarray:
        """Return what the joint adds to a frame after this label."""
        x = self.network.embedding[label].astype(float)
        for index, layer in enumerate(self.network.layers):
            gates = layer.inputs @ x + layer.recurrent @ self.hidden[index] + layer.bias
            i, o, f, g = np.split(gates.astype(float), 4)
            self.cell[index] = _sigmoid(f) * self.cell[index] + _sigmoid(i) * np.tanh(g)
            x = self.hidden[index] = _sigmoid(o) * np.tanh(self.cell[index])
        matrix, bias = self.network.predictor
        return matrix @ x + bias


@dataclass
class Expected:
    """Emissions (token, frame, duration), their log-probabilities and power sums, where it ended, frames looked at."""

    emissions: list[tuple[int, int, int]]
    logprobs: list[float]
    powers: list[float]
    time: int
    steps: list[int]


def expected(network: Network, frames: np.ndarray, length: int, start: int = 0) -> Expected:
    """Decode one utterance from its beginning; `frames` are projected [T, J]."""
    predictor = Predictor(network)
    predictions = [predictor.feed(network.blank)]
    matrix, bias = (part.astype(float) for part in network.output)
    emitted_rows: dict[int, np.ndarray] = {}
    history: list[int] = []
    steps: list[int] = []

    def logits(frame: int, emitted: int) -> np.ndarray:
        steps.append(frame)
        if emitted == len(predictions):
            predictions.append(predictor.feed(history[-1]))
        row = matrix @ np.maximum(frames[frame] + predictions[emitted], 0) + bias
        best = int(row[: network.blank + 1].argmax())
        if best != network.blank:
            history.append(best)
            emitted_rows[emitted] = row[: network.blank + 1]
        return row

    cap = network.max_symbols or 1 << 30
    emissions, over = naive.greedy_tdt(logits, length, network.durations, network.blank, cap, start)
    logprobs, powers = [], []
    for index, (token, _, _) in enumerate(emissions):
        chances = naive.log_softmax(emitted_rows[index])
        logprobs.append(float(chances[token]))
        powers.append(float(np.exp(ALPHA * chances).sum()))
    return Expected(emissions, logprobs, powers, length + over, steps)


def barriers(wanted: Sequence[Expected], layers: int, rows: int) -> int:
    """Count the grid's barriers of a batch in lockstep, whose free rows of a pass look ahead."""
    places, tokens = [0] * len(wanted), [0] * len(wanted)
    fed = sum(bool(one.steps) for one in wanted)
    total = 0
    while True:
        running = [row for row, one in enumerate(wanted) if places[row] < len(one.steps)]
        if not running:
            return total
        total += 1 + (layers + 1) * (fed > 0)
        window = rows // len(running) if len(running) <= rows // 2 else 1
        window = FEW_ROWS if len(running) == 1 and fed else window
        fed = 0
        for row in running:
            steps, emissions = wanted[row].steps, wanted[row].emissions
            base = steps[places[row]]
            while places[row] < len(steps) and steps[places[row]] < base + window:
                frame = steps[places[row]]
                places[row] += 1
                if tokens[row] < len(emissions) and emissions[tokens[row]][1] == frame:
                    tokens[row] += 1
                    fed += places[row] < len(steps)
                    break
