"""NeMo's answers beyond plain greedy (tests/data/strategies): the clips' encoder output, phrases, and comparisons."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import tdt
from tdt.audio.loading import load_audio
from tdt.encoding.features import pad_short
from tdt.fusion.ngram import NgramLM
from tdt.fusion.phrases import Phrases
from tdt.fusion.pieces import vocabulary_of

if TYPE_CHECKING:
    from tdt.kernels.fusion.automaton import Automaton

DATA = Path(__file__).parent / "data"
FOLDER = DATA / "strategies"
# Padded to a second in these answers, as `transcribe` pads it; its file of encoder output holds it as it is.
SHORT = "08_short_0p3s"
# NeMo's names for what it calls otherwise than the product.
_NEMO_OPTIONS = {"context_score": "score"}


@cache
def answers(name: str) -> dict[str, Any]:
    """Return a file of answers."""
    return dict(json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")))


def encoded_clips(asr: tdt.Recognizer, names: list[str]) -> dict[str, tdt.Encoded]:
    """Return the encoder output of clips: NeMo's own of golden clips, ours of the rest.

    Two golden clips have bands without signal, whose normalised features are amplified rounding noise.
    """
    lengths = {
        clip["id"]: clip["encoder_len"]
        for clip in json.loads((DATA / "goldens" / "goldens.json").read_text(encoding="utf-8"))["clips"]
    }
    found = {}
    for name in names:
        if name in lengths and name != SHORT:
            with np.load(DATA / "goldens" / f"{name}.npz") as arrays:
                frames = np.ascontiguousarray(arrays["encoder_out"].T[None])
            found[name] = tdt.Encoded(frames, np.array([lengths[name]]))
        else:
            folder = DATA / ("goldens" if name == SHORT else "eval")
            samples = load_audio(next(folder.glob(f"{name}.*[vc]"))).samples
            found[name] = asr.encode(asr.features(pad_short(samples)[0]))
    return found


def together(encoded: list[tdt.Encoded]) -> tdt.Encoded:
    """Return a batch of single utterances."""
    lengths = np.concatenate([one.lengths for one in encoded])
    frames = np.zeros((len(encoded), int(lengths.max()), encoded[0].frames.shape[2]), np.float32)
    for row, one in zip(frames, encoded, strict=True):
        row[: one.lengths[0]] = one.frames[0, : one.lengths[0]]
    return tdt.Encoded(frames, lengths)


def phrases_of(name: str, weight: float, config: dict[str, Any] | None = None) -> Phrases:
    """Return a list of phrases as NeMo takes it."""
    options = {_NEMO_OPTIONS.get(key, key): value for key, value in (config or {}).items()}
    return Phrases(answers("boosting")["lists"][name], weight=weight, as_nemo=True, **options)


@cache
def language_model() -> NgramLM:
    """Return the model of the answers."""
    return NgramLM.read(FOLDER / "lm" / "tiny3.arpa")


def model_of(thing: Phrases | NgramLM, pieces: tuple[str, ...]) -> Automaton:
    """Return what the decoder takes."""
    return thing.automaton(vocabulary_of(pieces))


def said(hypothesis: tdt.Hypothesis) -> list[list[int]]:
    """Return tokens, frames and durations."""
    return [hypothesis.token_ids.tolist(), hypothesis.frames.tolist(), hypothesis.durations.tolist()]


def expected(clip: dict[str, Any]) -> list[list[int]]:
    """Return NeMo's."""
    return [clip["tokens"], clip["frames"], clip["durations"]]
