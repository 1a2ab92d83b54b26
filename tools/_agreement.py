"""What 8-bit decoder weights change: token agreement, word error rate, and the margin of every decision that flips."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import tdt
from tdt.audio.loading import load_audio
from tdt.decoding.native import NativeEngine
from tdt.model.finding import find_model
from tdt.profiling.stats import agreement, edit_distance
from tdt.surgery.lifting import DecoderWeights, lift

if TYPE_CHECKING:
    from tdt.stages import Hypothesis


def agreement_report(model: Path | None, clips: list[Path]) -> str:
    """Decode the clips with float32 and with 8-bit weights and say where they part."""
    files, spec = find_model(model, precision="float32")
    exact, rounded = (NativeEngine(files, spec, weights=kind) for kind in ("float32", "int8"))
    stepper = Stepper(lift(files, spec), spec.blank_id, spec.durations)
    lines, pairs, texts = [], [], []
    with tdt.load(model, precision="float32") as asr:
        for path in clips:
            audio = load_audio(path)
            encoded = asr.encode(asr.features([audio.samples]))
            one, other = (engine.decode(encoded)[0][0] for engine in (exact, rounded))
            pairs.append((one, other))
            texts.append([asr.transcript(h, audio.seconds).text for h in (one, other)])
            place = _parting(one, other)
            if place is not None:
                frames = encoded.frames[0, : encoded.lengths[0]]
                lines.append(f"{path.name}: {_margin(stepper, frames, one, other, place, spec.pieces)}")
    ours, theirs = ([h.token_ids.tolist() for h in side] for side in zip(*pairs, strict=True))
    tokens = sum(map(len, ours))
    lines.append(f"{len(lines)} of {len(clips)} clips part; {tokens} tokens, agreement {agreement(ours, theirs):.2%}")
    return "\n".join(lines + _word_errors(clips, texts))


def _parting(one: Hypothesis, other: Hypothesis) -> int | None:
    """Return the index of the first emission that differs in token, frame or duration."""
    events = [list(zip(h.token_ids, h.frames, h.durations, strict=True)) for h in (one, other)]
    for index, (a, b) in enumerate(zip(*events, strict=False)):
        if a != b:
            return index
    return None if len(one) == len(other) else min(len(one), len(other))


class Stepper:
    """The networks in plain NumPy, one step at a time, for margins."""

    def __init__(self, weights: DecoderWeights, blank: int, durations: tuple[int, ...]) -> None:
        self.weights, self.blank, self.durations = weights, blank, durations

    def predict(self, tokens: list[int]) -> Any:
        """Feed the blank and then the tokens to the prediction network; return its projected output."""
        layers = self.weights.layers
        width = layers[0].recurrent.values.shape[1]
        hidden, cell = np.zeros((2, len(layers), width), np.float32)
        for token in [self.blank, *tokens]:
            x = self.weights.embedding[token]
            for index, layer in enumerate(layers):
                gates = layer.inputs.values @ x + layer.recurrent.values @ hidden[index] + layer.bias
                i, o, f = 1 / (1 + np.exp(-gates[: 3 * width].reshape(3, width)))
                cell[index] = f * cell[index] + i * np.tanh(gates[3 * width :])
                x = hidden[index] = o * np.tanh(cell[index])
        return self.weights.predictor.matrix.values @ x + self.weights.predictor.bias

    def margins(self, frame: Any, prediction: Any) -> tuple[float, float, int, int]:
        """Return the margins of the token and of the duration decision at a frame, and the decisions."""
        encoder, output = self.weights.encoder, self.weights.output
        hidden = np.maximum(encoder.matrix.values @ frame + encoder.bias + prediction, 0)
        logits = output.matrix.values @ hidden + output.bias
        tokens, steps = logits[: self.blank + 1], logits[self.blank + 1 :]
        gaps = [float(np.diff(np.sort(part)[-2:])[0]) for part in (tokens, steps)]
        return gaps[0], gaps[1], int(tokens.argmax()), self.durations[int(steps.argmax())]


def _margin(
    stepper: Stepper, frames: Any, one: Hypothesis, other: Hypothesis, place: int, pieces: tuple[str, ...]
) -> str:
    """Say at which evaluation after the last common token the narrowest float32 decision lies."""
    prediction = stepper.predict(one.token_ids[:place].tolist())
    time = int(one.frames[place - 1] + one.durations[place - 1]) if place else 0
    ends = [int(h.frames[place]) if place < len(h) else len(frames) - 1 for h in (one, other)]
    narrowest = (np.inf, time, "token")
    while time <= min(max(ends), len(frames) - 1):
        token_gap, step_gap, token, step = stepper.margins(frames[time], prediction)
        narrowest = min(narrowest, (token_gap, time, "token"), (step_gap, time, "duration"))
        if token != stepper.blank:
            break
        time += max(step, 1)
    names = [repr(pieces[h.token_ids[place]]) if place < len(h) else "the end" for h in (one, other)]
    return (
        f"token {place}: {names[0]} in float32, {names[1]} in 8 bits; "
        f"{narrowest[2]} margin {narrowest[0]:.3f} at frame {narrowest[1]}"
    )


def _word_errors(clips: list[Path], texts: list[list[str]]) -> list[str]:
    """Return word error rates against transcripts.tsv (file, text), lower case and without punctuation."""
    listed = clips[0].parent / "transcripts.tsv"
    if not listed.is_file():
        return []
    with listed.open(encoding="utf-8") as stream:
        truth = {Path(row[0]).stem: row[1] for row in csv.reader(stream, delimiter="\t") if len(row) > 1}
    references = [_words(truth[path.stem]) for path in clips]
    total = sum(map(len, references))
    rates = []
    for side in range(2):
        wrong = sum(edit_distance(_words(text[side]), words) for text, words in zip(texts, references, strict=True))
        rates.append(wrong / total)
    return [f"word error rate: float32 {rates[0]:.2%}, 8-bit {rates[1]:.2%}, difference {rates[1] - rates[0]:+.2%}"]


def _words(text: str) -> list[str]:
    return re.sub(r"[^\w\s']", " ", text.lower()).split()
