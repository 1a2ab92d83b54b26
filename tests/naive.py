"""Slow, obvious versions of what the package computes fast: the oracles of the tests."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


# --- statistics -------------------------------------------------------------------------------------------------------


def edit_distance(ours: list[object], theirs: list[object]) -> int:
    """Levenshtein distance by its recursive definition, each prefix pair once."""
    table = [[max(i, j) if 0 in (i, j) else 0 for j in range(len(theirs) + 1)] for i in range(len(ours) + 1)]
    for i in range(1, len(ours) + 1):
        for j in range(1, len(theirs) + 1):
            same = table[i - 1][j - 1] + (ours[i - 1] != theirs[j - 1])
            table[i][j] = min(same, table[i - 1][j] + 1, table[i][j - 1] + 1)
    return table[-1][-1]


# --- the greedy TDT loop ----------------------------------------------------------------------------------------------


def greedy_tdt(
    logits: Callable[[int, int], np.ndarray],
    length: int,
    durations: Sequence[int],
    blank: int,
    max_symbols: int = 10,
    start: int = 0,
) -> tuple[list[tuple[int, int, int]], int]:
    """NeMo's label looping for one utterance, word for word.

    `logits(frame, emitted)` is the joint's output at a frame after `emitted` tokens. Returns (token, frame, duration)
    of each emission, and by how much the clock has passed the end.
    """
    emitted: list[tuple[int, int, int]] = []
    time = start
    while time < length:
        row = logits(time, len(emitted))
        tokens, steps = row[: -len(durations)], row[-len(durations) :]
        best_token, best_step = max(tokens), max(steps)
        token = next(index for index, value in enumerate(tokens) if value == best_token)
        duration = durations[next(index for index, value in enumerate(steps) if value == best_step)]
        if token == blank:
            time += max(duration, 1)
            continue
        emitted.append((token, time, duration))
        at_this_frame = 0
        for _, frame, _ in reversed(emitted):
            if frame != time:
                break
            at_this_frame += 1
        if duration == 0 and at_this_frame >= max_symbols:
            time += 1
        time += duration
    return emitted, time - length


def log_softmax(row: np.ndarray) -> np.ndarray:
    """In float64, by the formula."""
    wide = row.astype(np.float64)
    return wide - wide.max() - np.log(np.exp(wide - wide.max()).sum())


def tsallis_confidence(row: np.ndarray, alpha: float = 0.33) -> float:
    """NeMo's `entropy_tsallis_exp` of one row of token logits."""
    classes = len(row)
    entropy = (1 - (np.exp(log_softmax(row)) ** alpha).sum()) / (1 - alpha)
    largest = (1 - classes ** (1 - alpha)) / (1 - alpha)
    return float((np.exp(entropy) - np.exp(largest)) / (1 - np.exp(largest)))


# --- phrases ----------------------------------------------------------------------------------------------------------


def byte_pair_encoding(text: str, pieces: Sequence[str]) -> list[str]:
    """Letters of a text, joined pair by pair: of pairs that are a piece that of lowest id, the leftmost first."""
    symbols = list(text)
    while pairs := [(pieces.index(a + b), i) for i, (a, b) in enumerate(pairwise(symbols)) if a + b in pieces]:
        _, i = min(pairs)
        symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]
    return symbols


class PhraseScores:
    """What phrases add to a token after a history, found by looking at every suffix of the history.

    `scores`: phrase (tuple of tokens) → context score, none of them 0.
    """

    def __init__(
        self,
        scores: Mapping[tuple[int, ...], float],
        depth_scaling: float = 2.0,
        unk_score: float = 0.0,
        uniform: bool = False,
    ) -> None:
        self.scores, self.depth_scaling, self.unk_score, self.uniform = scores, depth_scaling, unk_score, uniform
        self.prefixes = {phrase[:end] for phrase in scores for end in range(1, len(phrase) + 1)}

    def weight(self, prefix: tuple[int, ...]) -> float:
        """What the last token of a prefix earns."""
        score = max(score for phrase, score in self.scores.items() if phrase[: len(prefix)] == prefix)
        if len(prefix) == 1 or self.uniform:
            return score
        return score * self.depth_scaling + math.copysign(math.log(len(prefix)), score)

    def total(self, prefix: tuple[int, ...]) -> float:
        """What a prefix has earned."""
        return sum(self.weight(prefix[:end]) for end in range(1, len(prefix) + 1))

    def standing(self, history: tuple[int, ...]) -> list[tuple[int, ...]]:
        """The suffixes of a history with which phrases begin, the longest first, the empty one last."""
        return [suffix for start in range(len(history)) if (suffix := history[start:]) in self.prefixes] + [()]

    def keeps(self, prefix: tuple[int, ...]) -> bool:
        """Whether what was earned is kept when the prefix is left: a whole phrase (uniform: its end had it twice)."""
        return prefix in self.scores and not (self.uniform and len(prefix) > 1)

    def __call__(self, history: tuple[int, ...], token: int) -> np.float32:
        """The score of a token, in float32."""
        paid = np.float32(0)
        for suffix, shorter in pairwise([*self.standing(history), ()]):
            spelled = (*suffix, token)
            if spelled in self.prefixes:
                again = self.total(spelled) if self.uniform and spelled in self.scores and len(spelled) > 1 else 0.0
                return np.float32(paid + np.float32(self.weight(spelled) + again))
            if not self.keeps(suffix):
                paid += np.float32(self.total(shorter) - self.total(suffix))
        return np.float32(paid + np.float32(self.unk_score))


# --- language models --------------------------------------------------------------------------------------------------


class ArpaDictionary:
    """An n-gram model as a dictionary, read line by line; back-off by its recursive definition."""

    def __init__(self, text: str, vocabulary: int) -> None:
        self.weights: dict[tuple[str, ...], float] = {}
        self.backoffs: dict[tuple[str, ...], float] = {}
        self.order = 0
        for line in text.split("\n"):
            if line.startswith("ngram "):
                self.order = int(line.split("=")[0].split()[1])
            elif "\t" in line:
                weight, symbols, *backoff = line.split("\t")
                ngram = tuple(symbols.split(" "))
                self.weights[ngram] = float(weight) * math.log(10)
                self.backoffs[ngram] = float(backoff[0]) * math.log(10) if backoff else 0.0
        self.missing = sum((chr(token + 100),) not in self.weights for token in range(vocabulary))

    def log_probability(self, history: tuple[str, ...], symbol: str) -> float:
        """Natural logarithm; the pieces that the model has not met share `<unk>`, and what lies before is forgotten."""
        if (*history, symbol) in self.weights:
            return self.weights[*history, symbol]
        if history:
            return self.backoffs.get(history, 0.0) + self.log_probability(history[1:], symbol)
        if ("<unk>",) in self.weights:
            return self.weights["<unk>",] - math.log(self.missing)
        return -100 * math.log(10)

    def scores(self, tokens: Sequence[int], *, bos: bool = True) -> list[float]:
        """The score of each token after those before it."""
        history, scores = ["<s>"] if bos else [], []
        for token in tokens:
            symbol = chr(token + 100)
            scores.append(self.log_probability(tuple(history[-(self.order - 1) :] if self.order > 1 else ()), symbol))
            history = [*history, symbol] if (symbol,) in self.weights else []
        return scores


# --- features ---------------------------------------------------------------------------------------------------------


def slaney_filterbank(n_mels: int) -> np.ndarray:
    """Triangles on the Slaney mel scale, 0 to 8000 Hz, each of unit area: its definition, bin by bin."""

    def hertz(mel: float) -> float:
        return mel * 200 / 3 if mel < 15 else 1000 * math.exp((mel - 15) * math.log(6.4) / 27)

    top = 15 + math.log(8000 / 1000) / (math.log(6.4) / 27)
    edges = [hertz(top * i / (n_mels + 1)) for i in range(n_mels + 2)]
    bank = np.zeros((n_mels, 257))
    for band, (low, peak, high) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        for k in range(257):
            rising, falling = (k * 31.25 - low) / (peak - low), (high - k * 31.25) / (high - peak)
            bank[band, k] = max(0.0, min(rising, falling)) * 2 / (high - low)
    return bank


def log_mel(samples: np.ndarray, n_mels: int, edges: str = "constant") -> np.ndarray:
    """NeMo's log-mel before normalisation [n_mels, N // 160 + 1], in float64, frame by frame and bin by bin."""
    count = len(samples)
    signal = [float(samples[0])] + [float(samples[i]) - 0.97 * float(samples[i - 1]) for i in range(1, count)]

    def at(position: int) -> float:
        if edges == "reflect":
            while not 0 <= position < count:  # a mirror at each end
                position = -position if position < 0 else 2 * (count - 1) - position
        return signal[position] if 0 <= position < count else 0.0

    window = [0.5 - 0.5 * math.cos(2 * math.pi * i / 399) for i in range(400)]
    turns = np.exp(-2j * np.pi * np.outer(np.arange(257), np.arange(512)) / 512)
    bank = slaney_filterbank(n_mels)
    columns = []
    for t in range(count // 160 + 1):
        cut = np.zeros(512)
        for i in range(400):
            cut[56 + i] = window[i] * at(160 * t - 256 + 56 + i)
        columns.append(np.log(bank @ np.abs(turns @ cut) ** 2 + 2.0**-24))
    return np.stack(columns, axis=1)


def normalize_per_feature(raw: np.ndarray, valid: int) -> np.ndarray:
    """Mean 0 and deviation 1 (n - 1) of each row over its valid frames; zeros elsewhere."""
    out = np.zeros_like(raw)
    for row, values in enumerate(raw[:, :valid]):
        deviation = values.std(ddof=1) if valid > 1 else 0.0
        out[row, :valid] = (values - values.mean()) / (deviation + 1e-5)
    return out


# --- prediction network and joint -------------------------------------------------------------------------------------


class Network:
    """A transducer's prediction network and joint in float32 NumPy, one utterance, one step at a time.

    `weights` is a tdt.surgery.lifting.DecoderWeights. Called as `greedy_tdt` calls for logits, it finds out by itself
    which token was emitted: the best of the row it gave before. NumPy was seen to warn of an invalid value in a product
    of finite numbers, once in many millions; one that counts would differ from what is tested.
    """

    def __init__(self, weights: Any, frames: np.ndarray, blank: int, state: Any = None) -> None:
        self.weights, self.frames, self.blank = weights, frames, blank
        size = weights.layers[0].recurrent.values.shape[1]
        self.hidden = np.zeros((len(weights.layers), size), np.float32)
        self.cell = np.zeros_like(self.hidden)
        self.label, self.fed = blank, 0
        if state is not None:
            self.hidden, self.cell, self.label = state.hidden.copy(), state.cell.copy(), state.label
        self.predicted = self._feed()
        self.best = blank
        self.rows: list[np.ndarray] = []

    @np.errstate(invalid="ignore")
    def __call__(self, frame: int, emitted: int) -> np.ndarray:
        if emitted > self.fed:
            self.fed, self.label = emitted, self.best
            self.hidden, self.cell = self.next_hidden, self.next_cell
            self.predicted = self._feed()
        encoder, output = self.weights.encoder, self.weights.output
        total = encoder.matrix.values @ self.frames[frame] + encoder.bias + self.predicted
        row = output.matrix.values @ np.maximum(total, 0) + output.bias
        self.best = int(row[: self.blank + 1].argmax())
        if self.best != self.blank:
            self.rows.append(row[: self.blank + 1])
        return row

    @np.errstate(invalid="ignore")
    def _feed(self) -> np.ndarray:
        x = self.weights.embedding[self.label]
        self.next_hidden, self.next_cell = self.hidden.copy(), self.cell.copy()
        for index, layer in enumerate(self.weights.layers):
            gates = layer.inputs.values @ x + layer.recurrent.values @ self.hidden[index] + layer.bias
            i, o, f, g = np.split(np.clip(gates, -80, 80), 4)
            i, o, f = (1 / (1 + np.exp(-gate)) for gate in (i, o, f))
            self.next_cell[index] = f * self.cell[index] + i * np.tanh(g)
            x = self.next_hidden[index] = (o * np.tanh(self.next_cell[index])).astype(np.float32)
        return self.weights.predictor.matrix.values @ x + self.weights.predictor.bias


# --- automata over tokens, and the greedy loop with them --------------------------------------------------------------


def automaton_step(model: Any, state: int, token: int) -> tuple[np.float32, int]:
    """Score of a token in a state and the next state: failures are followed until there is an arc, or the root."""
    total = np.float32(0)
    while state:
        for arc in range(model.arc_starts[state], model.arc_starts[state + 1]):
            if model.labels[arc] == token:
                return np.float32(total + model.weights[arc]), int(model.targets[arc])
        total = np.float32(total + model.backoff_weights[state])
        state = int(model.backoffs[state])
    return np.float32(total + model.root_weights[token]), int(model.root_targets[token])


def fused_tdt(
    network: Network, length: int, durations: Sequence[int], fusion: Any, max_symbols: int = 10
) -> tuple[list[list[int]], list[int]]:
    """NeMo's label looping with automata (`fusion.models`) and a mask; tokens, frames and durations, and the states."""
    blank = network.blank
    states = [model.start for model, _ in fusion.models]
    allowed = np.ones(blank, bool) if fusion.allowed is None else fusion.allowed
    emitted: list[tuple[int, int, int]] = []
    time = 0
    while time < length:
        row = network(time, len(emitted))
        duration = durations[int(row[blank + 1 :].argmax())]
        asked = range(blank) if fusion.after_blank else np.flatnonzero(allowed)
        if not any(row[piece] > row[blank] or (row[piece] == row[blank] and piece < blank) for piece in asked):
            time += max(duration, 1)
            continue
        best, chosen = np.float32(-np.inf), -1
        for piece in np.flatnonzero(allowed).tolist():
            bonus = np.float32(0)
            for place, (model, weight) in enumerate(fusion.models):
                score = np.float32(np.float32(weight) * automaton_step(model, states[place], piece)[0])
                bonus = score if place == 0 else np.float32(bonus + score)
            if np.float32(row[piece] + bonus) > best:
                best, chosen = np.float32(row[piece] + bonus), piece
        network.best = chosen
        states = [automaton_step(model, at, chosen)[1] for (model, _), at in zip(fusion.models, states, strict=True)]
        emitted.append((chosen, time, duration))
        here = sum(frame == time for _, frame, _ in emitted)
        time += 1 if duration == 0 and here >= max_symbols else duration
    return [[entry[column] for entry in emitted] for column in range(3)], states


# --- quantisation -----------------------------------------------------------------------------------------------------


def quantisation_mse(values: np.ndarray, edge: float) -> float:
    """Mean squared error of symmetric int8 with `edge` at 127."""
    step = edge / 127
    return float(np.mean((np.clip(np.rint(values / step), -127, 127) * step - values) ** 2))


def saturating_columns(values: np.ndarray, sample: np.ndarray, scale: float) -> np.ndarray:
    """Columns in which some pair of products of uint8 activations (zero point 128) and int8 weights leaves int16."""
    found = np.zeros(values.shape[1], bool)
    for row in sample:
        levels = [int(min(max(np.rint(value / scale), -128), 127)) + 128 for value in row]
        for column in range(values.shape[1]):
            for k in range(0, len(levels) - 1, 2):
                total = levels[k] * int(values[k, column]) + levels[k + 1] * int(values[k + 1, column])
                found[column] |= not -32768 <= total <= 32767
    return found
