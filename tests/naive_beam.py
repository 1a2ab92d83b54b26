"""Beam search over TDT transducers word for word, with lists and dicts: NeMo's `malsd_batch` as the oracle of tests.

Source: NeMo `tdt_malsd_batched_computer.py: ModifiedALSDBatchedTDTComputer.modified_alsd_torch`. Two things are ours:
durations go through the model's table (NeMo takes their index for frames), and scores are summed in float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .naive import log_softmax

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True)
class Beamed:
    """A hypothesis: its labels with their frames, durations and log-probabilities, and where it stands."""

    score: float = 0.0
    labels: tuple[int, ...] = ()
    frames: tuple[int, ...] = ()
    durations: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    time: int = 0
    repeats: int = 0
    fusions: tuple[int, ...] = ()


@dataclass(frozen=True)
class Search:
    """A model and a way to search it.

    `logits(frame, labels)` is the joint's output at a frame after the labels; `fusions` are pairs of a weight and a
    function from a state to scores [V] and next states [V]; `allowed` are the pieces that may be emitted.
    """

    logits: Callable[[int, tuple[int, ...]], np.ndarray]
    durations: Sequence[int]
    blank: int
    size: int = 4
    pruning: str = "late"
    blank_score: str = "lm_weighted_full"
    max_symbols: int = 10
    fusions: Sequence[tuple[float, Callable[[int], tuple[np.ndarray, np.ndarray]]]] = ()
    allowed: frozenset[int] | None = None

    def run(self, length: int, beams: Sequence[Beamed], before: int = 0) -> list[Beamed]:
        """Take hypotheses, times counted from the piece's first frame, to the end of a piece of `length` frames.

        `before` frames came earlier; frames of tokens are counted from the first.
        """
        alive = list(beams)
        while any(hypothesis.time < length for hypothesis in alive):
            offers: list[tuple[float, Beamed]] = []
            for hypothesis in alive:
                if hypothesis.time >= length:
                    offers.append((hypothesis.score, hypothesis))
                else:
                    offers += self._extensions(hypothesis, before)
            best = sorted(range(len(offers)), key=lambda i: (-offers[i][0], i))[: self.size]
            alive = recombine([replace(offers[i][1], score=offers[i][0]) for i in best])
        return alive

    def _extensions(self, hypothesis: Beamed, before: int) -> list[tuple[float, Beamed]]:
        row = self.logits(before + hypothesis.time, hypothesis.labels)
        plain, steps = log_softmax(row[: self.blank + 1]), log_softmax(row[self.blank + 1 :])
        fused = plain.copy()
        if self.allowed is not None:
            fused[[piece for piece in range(self.blank) if piece not in self.allowed]] = -math.inf
        considered = list(range(self.blank + 1))
        if self.pruning == "early":
            considered = sorted(considered, key=lambda k: (-fused[k], k))[: self.size]
        walked = [model(state) for (_, model), state in zip(self.fusions, hypothesis.fusions, strict=True)]
        if self.fusions:
            fused = self._fuse(fused, [scores for scores, _ in walked])
        if self.max_symbols > 0 and hypothesis.repeats >= self.max_symbols:
            index = int(steps.argmax())
            value = fused[self.blank] if self.pruning == "late" else plain[self.blank]
            return [self._extend(hypothesis, self.blank, index, value + steps[index], plain, walked, before)]
        grid = np.full((self.blank + 1, len(steps)), -math.inf)
        grid[considered] = fused[considered, None] + steps
        best = np.argsort(-grid, axis=None, kind="stable")[: self.size].tolist()
        pairs = [(*divmod(place, len(steps)), grid.flat[place]) for place in best if grid.flat[place] > -math.inf]
        return [self._extend(hypothesis, k, d, gain, plain, walked, before) for k, d, gain in pairs]

    def _fuse(self, plain: np.ndarray, scores: list[np.ndarray]) -> np.ndarray:
        out, total = plain.copy(), sum(weight for weight, _ in self.fusions)
        for (weight, _), each in zip(self.fusions, scores, strict=True):
            out[: self.blank] += weight * each
        if self.blank_score == "lm_weighted_full":
            out[: self.blank] += total * math.log(1 - min(math.exp(plain[self.blank]), 0.99))
            out[self.blank] *= 1 + total
        return out

    def _extend(
        self, old: Beamed, k: int, d: int, gain: float, plain: np.ndarray, walked: list[Any], before: int
    ) -> tuple[float, Beamed]:
        duration = self.durations[d]
        if k == self.blank:
            return old.score + gain, replace(old, time=old.time + max(duration, 1), repeats=0)
        new = Beamed(
            labels=(*old.labels, k),
            frames=(*old.frames, before + old.time),
            durations=(*old.durations, duration),
            logprobs=(*old.logprobs, float(plain[k])),
            time=old.time + duration,
            repeats=0 if duration > 0 else old.repeats + 1,
            fusions=tuple(int(nexts[k]) for _, nexts in walked),
        )
        return old.score + gain, new


def recombine(beams: list[Beamed]) -> list[Beamed]:
    """Add hypotheses of equal labels and time up in the best of them, the first of equals; leave the others out."""
    kept: dict[tuple[tuple[int, ...], int], Beamed] = {}
    for hypothesis in beams:  # best first
        key = hypothesis.labels, hypothesis.time
        if key in kept:
            kept[key] = replace(kept[key], score=float(np.logaddexp(kept[key].score, hypothesis.score)))
        else:
            kept[key] = hypothesis
    return list(kept.values())


def ranked(beams: list[Beamed], *, score_norm: bool = True) -> list[Beamed]:
    """Return the n-best list: by score a label (and one more), or by score."""
    return sorted(beams, key=lambda one: -(one.score / (len(one.labels) + 1) if score_norm else one.score))


class LabelledNetwork:
    """A transducer's networks in float32 NumPy, asked by labels: each sequence of labels is fed once.

    `weights` is a tdt.surgery.lifting.DecoderWeights.
    """

    def __init__(self, weights: Any, frames: np.ndarray, blank: int) -> None:
        self.weights, self.blank = weights, blank
        self.projected = np.array([_times(weights.encoder, frame) for frame in frames])
        self._fed: dict[tuple[int, ...], Any] = {}
        self._rows: dict[tuple[int, tuple[int, ...]], np.ndarray] = {}

    def __call__(self, frame: int, labels: tuple[int, ...]) -> np.ndarray:
        if (frame, labels) not in self._rows:
            total = np.maximum(self.projected[frame] + self._feed(labels)[2], 0)
            self._rows[frame, labels] = _times(self.weights.output, total)
        return self._rows[frame, labels]

    def _feed(self, labels: tuple[int, ...]) -> Any:
        """Return hidden and cell state after the labels, and the projected prediction."""
        if labels not in self._fed:
            layers = self.weights.layers
            zeros = np.zeros((len(layers), layers[0].recurrent.values.shape[1]), np.float32)
            hidden, cell, _ = self._feed(labels[:-1]) if labels else (zeros, zeros, None)
            self._fed[labels] = self._step(labels[-1] if labels else self.blank, hidden, cell)
        return self._fed[labels]

    def _step(self, label: int, hidden: np.ndarray, cell: np.ndarray) -> Any:
        x, after = self.weights.embedding[label], (hidden.copy(), cell.copy())
        for index, layer in enumerate(self.weights.layers):
            gates = layer.inputs.values @ x + layer.recurrent.values @ hidden[index] + layer.bias
            i, o, f, g = np.split(np.clip(gates, -80, 80), 4)
            i, o, f = (1 / (1 + np.exp(-gate)) for gate in (i, o, f))
            after[1][index] = f * cell[index] + i * np.tanh(g)
            x = after[0][index] = (o * np.tanh(after[1][index])).astype(np.float32)
        return *after, _times(self.weights.predictor, x)


def _times(linear: Any, x: np.ndarray) -> np.ndarray:
    """Row by row, so that equal rows give equal numbers, which BLAS does not promise."""
    return (linear.matrix.values * x).sum(axis=1) + linear.bias


def walker(model: Any) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    """Return an automaton's scores and next states from a state, by the rule in its docstring, token by token."""
    tokens = len(model.root_targets)
    arcs = [
        dict(zip(model.labels[first:last].tolist(), range(first, last), strict=True))
        for first, last in zip(model.arc_starts[:-1].tolist(), model.arc_starts[1:].tolist(), strict=True)
    ]

    def walk(start: int) -> tuple[np.ndarray, np.ndarray]:
        scores, nexts = np.zeros(tokens, np.float32), np.zeros(tokens, np.int64)
        for token in range(tokens):
            state, total = start, np.float32(0)
            while state != 0 and token not in arcs[state]:
                total += model.backoff_weights[state]
                state = int(model.backoffs[state])
            if state == 0:
                scores[token], nexts[token] = total + model.root_weights[token], model.root_targets[token]
            else:
                arc = arcs[state][token]
                scores[token], nexts[token] = total + model.weights[arc], model.targets[arc]
        return scores, nexts

    known: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def remembered(state: int) -> tuple[np.ndarray, np.ndarray]:
        if state not in known:
            known[state] = walk(state)
        return known[state]

    return remembered
