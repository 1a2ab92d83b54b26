"""Measures of every step, blanks and durations as well, beside a loop that spells them out."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tdt
from tdt.audio.loading import load_audio
from tdt.decoding import native
from tdt.decoding.native import NativeEngine
from tdt.longform.checkpoint import _hypothesis, _plain_hypothesis
from tdt.stages import Encoded, Fusion, Hypothesis

from .. import naive
from .test_native_scripted import FILES, cases

if TYPE_CHECKING:
    from collections.abc import Sequence

RECORDINGS = Path(tdt.__file__).parent / "models" / "recordings"
MODES: list[dict[str, Any]] = [{"screening": False}, {"screening": True}, {"screening": True, "window": 4}]


def steps_of(network: naive.Network, length: int, spec: Any) -> tuple[list[np.ndarray], list[tuple[int, np.ndarray]]]:
    """Return the logits of each token's step, and frame and logits of each blank's."""
    tokens: list[np.ndarray] = []
    blanks: list[tuple[int, np.ndarray]] = []

    def logits(frame: int, emitted: int) -> np.ndarray:
        row = network(frame, emitted)
        if row[: spec.blank_id + 1].argmax() == spec.blank_id:
            blanks.append((frame, row))
        else:
            tokens.append(row)
        return row

    naive.greedy_tdt(logits, length, spec.durations, spec.blank_id, max_symbols=spec.max_symbols)
    return tokens, blanks


def measures(row: np.ndarray, classes: int) -> list[float]:
    """Log-probability of the best and entropy confidence, by the formulas, against `classes` choices."""
    power = (np.exp(naive.log_softmax(row)) ** 0.33).sum()
    least = np.exp((1 - classes**0.67) / 0.67)
    return [naive.log_softmax(row).max(), (np.exp((1 - power) / 0.67) - least) / (1 - least)]


def same(one: Hypothesis, other: Hypothesis) -> bool:
    names = [field.name for field in fields(Hypothesis) if field.name != "steps"]
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


def equal_steps(one: Hypothesis, other: Hypothesis) -> bool:
    assert one.steps is not None
    assert other.steps is not None
    pairs: Sequence[tuple[np.ndarray, np.ndarray]] = [
        (getattr(one.steps, name), getattr(other.steps, name)) for name in ("durations", "blank_frames", "blanks")
    ]
    return all(np.array_equal(*pair) for pair in pairs)


@pytest.mark.parametrize("mode", MODES, ids=["full", "screened", "windows of 4"])
def test_random_networks(monkeypatch: pytest.MonkeyPatch, mode: dict[str, Any]) -> None:
    blanks_seen = 0
    for seed in range(10):
        weights, spec, encoded = cases(seed, 60)
        monkeypatch.setattr(native, "lift", lambda *_, weights=weights: weights)
        found, _ = NativeEngine(FILES, spec, steps=True, **mode).decode(encoded)
        plain, _ = NativeEngine(FILES, spec, **mode).decode(encoded)
        size = spec.blank_id + 1
        for frames, length, hypothesis, without in zip(encoded.frames, encoded.lengths, found, plain, strict=True):
            assert same(hypothesis, without)
            assert without.steps is None
            tokens, blanks = steps_of(naive.Network(weights, frames, spec.blank_id), int(length), spec)
            assert hypothesis.steps is not None
            assert hypothesis.steps.blank_frames.tolist() == [frame for frame, _ in blanks]
            expected = [measures(row[:size], size) + measures(row[size:], size) for _, row in blanks]
            # The integers of these networks are exact; exponentials are float32's.
            np.testing.assert_allclose(hypothesis.steps.blanks, np.reshape(expected, (-1, 4)), atol=1e-3)
            durations = [measures(row[size:], size) for row in tokens]
            np.testing.assert_allclose(hypothesis.steps.durations, np.reshape(durations, (-1, 2)), atol=1e-5)
            blanks_seen += len(blanks)
    assert blanks_seen > 400


@pytest.mark.parametrize("cut", [0, 1, 3, 5])
def test_pieces_together_have_the_steps_of_the_whole(monkeypatch: pytest.MonkeyPatch, cut: int) -> None:
    for seed in range(5):
        weights, spec, encoded = cases(seed, 50)
        monkeypatch.setattr(native, "lift", lambda *_, weights=weights: weights)
        engine = NativeEngine(FILES, spec, steps=True)
        whole, _ = engine.decode(encoded)
        first, states = engine.decode(Encoded(encoded.frames[:, :cut], np.minimum(encoded.lengths, cut)))
        second, _ = engine.decode(Encoded(encoded.frames[:, cut:], np.maximum(encoded.lengths - cut, 0)), states)
        for one, two, hypothesis in zip(first, second, whole, strict=True):
            assert equal_steps(Hypothesis.concatenate([one, two]), hypothesis)
            for place in range(len(hypothesis) + 1):
                parts = [hypothesis.part(0, place), hypothesis.part(place, len(hypothesis))]
                assert equal_steps(Hypothesis.concatenate(parts), hypothesis)


def test_a_masked_blank_is_measured_as_if_nothing_were_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    weights, spec, encoded = cases(0, 60)
    monkeypatch.setattr(native, "lift", lambda *_: weights)
    for mode in MODES:
        engine = NativeEngine(FILES, spec, steps=True, **mode)
        fusion = Fusion(allowed=np.zeros(spec.blank_id, bool))
        found, _ = engine.decode(encoded, fusions=[fusion] * len(encoded.lengths))
        size = spec.blank_id + 1
        for frames, hypothesis in zip(encoded.frames, found, strict=True):
            network = naive.Network(weights, frames, spec.blank_id)
            assert len(hypothesis) == 0
            assert hypothesis.steps is not None
            for frame, row in zip(hypothesis.steps.blank_frames.tolist(), hypothesis.steps.blanks, strict=True):
                np.testing.assert_allclose(row[:2], measures(network(frame, 0)[:size], size), atol=1e-3)


@pytest.mark.parametrize("seconds", [6, 60])
def test_blanks_count_in_windows_and_in_live_streams(seconds: int) -> None:
    """Factors of 1 at most: with blanks a product is never larger, and the tokens are the same."""
    samples = np.concatenate([load_audio(path).samples for path in sorted(RECORDINGS.glob("*.flac"))])
    with tdt.load(confidence="max_prob,prod") as plain, tdt.load(confidence="max_prob,prod,blanks") as counting:
        pairs = [asr.transcribe(samples, chunk_seconds=seconds) for asr in (plain, counting)]
        streams = [asr.live(latency=2) for asr in (plain, counting)]
        updates = [live.push(samples) + live.finish() for live in streams]
    finals = [[word for update in told if update.kind == "final" for word in update.words] for told in updates]
    whole = [live.transcript.words for live in streams]
    for one, other in ([made.words for made in pairs], whole, finals):
        assert [word.text for word in one] == [word.text for word in other]
        ratios = np.array([b.confidence / a.confidence for a, b in zip(one, other, strict=True)])
        assert ratios.max() <= 1
        assert np.mean(ratios < 1) > 0.3
    last = whole[1][-1].confidence
    assert last == finals[1][-1].confidence, "blanks to the end of the stream"


def test_journals_keep_them() -> None:
    with tdt.load(confidence="entropy,blanks") as asr:
        (hypothesis,) = asr.decode(asr.encode(asr.features(RECORDINGS / "15_hello_world.flac")))
    read = _hypothesis(_plain_hypothesis(hypothesis))
    assert same(read, hypothesis)
    assert equal_steps(read, hypothesis)
    assert same(_hypothesis(_plain_hypothesis(replace(hypothesis, steps=None))), hypothesis)
