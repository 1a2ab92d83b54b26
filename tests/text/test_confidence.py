"""Confidences as values: what may be said, and what is made of steps."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import tdt
from tdt.spec import ModelSpec
from tdt.stages import Hypothesis
from tdt.steps import Steps
from tdt.text.confidence import Confidence, confidence_of

SPEC = ModelSpec("spec", 80, 8, 1, ("a", "b", "c", "<blk>"), 3, (0, 1), 1, 1)
SIZE = 4


def of(probabilities: Any) -> np.ndarray:
    """Log-probabilities whose stretched probabilities are these: (p·4 - 1) / 3."""
    return np.log((np.asarray(probabilities) * (SIZE - 1) + 1) / SIZE).astype(np.float32)


def hypothesis() -> Hypothesis:
    """Two tokens at frames 1 and 4, blanks at 0, 2, 3, 4 and 6."""
    steps = Steps(
        np.stack([of([0.9, 0.8]), [0.0, 0.0]], axis=1).astype(np.float32),
        np.array([0, 2, 3, 4, 6], np.int32),
        np.stack(
            [of([0.1, 0.5, 0.6, 0.7, 0.9]), np.zeros(5), of([1.0, 1.0, 0.4, 1.0, 1.0]), np.zeros(5)], axis=1
        ).astype(np.float32),
    )
    return Hypothesis(
        np.array([0, 1], np.int32), np.array([1, 4], np.int32), np.array([1, 0], np.int32), of([0.8, 0.5]), None, None,
        None, steps,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("confidence", "expected"),
    [
        (Confidence("max_prob"), [0.8, 0.5]),
        (Confidence("max_prob", include_duration=True), [0.8, 0.5]),
        (Confidence("max_prob", "prod", include_duration=True), [0.72, 0.4]),
        (Confidence("max_prob", "mean", include_duration=True), [0.85, 0.65]),
        (Confidence("max_prob", exclude_blank=False), [0.5, 0.5]),
        (Confidence("max_prob", "max", exclude_blank=False), [0.8, 0.9]),
        (Confidence("max_prob", "mean", exclude_blank=False), [1.9 / 3, 2.1 / 3]),
        (Confidence("max_prob", "prod", exclude_blank=False), [0.24, 0.315]),
        (Confidence("max_prob", "prod", exclude_blank=False, include_duration=True), [0.72 * 0.5 * 0.24, 0.4 * 0.63]),
    ],
)
def test_blanks_and_durations_by_hand(confidence: Confidence, expected: list[float]) -> None:
    """The blank at frame 0 belongs to nobody, that of frame 4 to the token there."""
    np.testing.assert_allclose(confidence.of_tokens(hypothesis(), SPEC), expected, rtol=1e-5)


def test_words() -> None:
    values = [0.5, 0.25, 0.75]
    for name, expected in (("min", 0.25), ("mean", 0.5), ("max", 0.75), ("prod", 0.09375)):
        assert Confidence("entropy", name).of_word(values) == pytest.approx(expected)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("entropy", Confidence()),
        ("max_prob", Confidence("max_prob")),
        ("max_prob,mean,blanks,durations", Confidence("max_prob", "mean", False, True)),
        ("entropy,durations,prod", Confidence("entropy", "prod", True, True)),
    ],
)
def test_texts(text: str, expected: Confidence) -> None:
    assert confidence_of(text) == expected
    assert confidence_of(expected) is expected


@pytest.mark.parametrize(
    "given",
    ["", "mean", "entropy,", "entropy,min,max", "blanks", "entropy,blanks,blanks", "entropy mean", None, 1, True],
)
def test_other_texts_are_refused(given: Any) -> None:
    with pytest.raises(tdt.OptionError, match="max_prob"):
        confidence_of(given)


@pytest.mark.parametrize(
    ("name", "value"),
    [("method", "tsallis"), ("aggregation", "median"), ("aggregation", None), ("exclude_blank", 1),
     ("include_duration", "yes")],
)  # fmt: skip
def test_fields_are_checked(name: str, value: Any) -> None:
    with pytest.raises(tdt.OptionError, match=name):
        replace(Confidence(), **{name: value})


def test_what_a_hypothesis_lacks_is_named() -> None:
    bare = replace(hypothesis(), steps=None)
    assert Confidence("max_prob", "prod").of_tokens(bare, SPEC) == pytest.approx([0.8, 0.5])
    with pytest.raises(tdt.OptionError, match="steps"):
        Confidence("max_prob", include_duration=True).of_tokens(bare, SPEC)
    with pytest.raises(tdt.OptionError, match="entropy_confidences"):
        Confidence("entropy", exclude_blank=False).of_tokens(hypothesis(), SPEC)


@pytest.mark.parametrize(
    "steps",
    [
        3,
        Steps(np.zeros((1, 2), np.float32), np.zeros(0, np.int32), np.zeros((0, 4), np.float32)),
        Steps(np.zeros((2, 2), np.float32), np.zeros(1, np.int32), np.zeros((0, 4), np.float32)),
        Steps(np.zeros((2, 2), np.float32), np.zeros(1, np.float32), np.zeros((1, 4), np.float32)),
    ],
)
def test_steps_made_by_hand_are_checked(steps: Any) -> None:
    with tdt.load() as asr, pytest.raises(tdt.OptionError, match="steps"):
        asr.transcript(replace(hypothesis(), entropy_confidences=np.ones(2, np.float32), steps=steps), 1.0)


def test_a_frame_that_two_parts_heard_counts_once() -> None:
    whole = hypothesis()
    assert whole.steps is not None
    joined = Hypothesis.concatenate([whole, whole]).steps
    assert joined is not None
    assert joined.blank_frames.tolist() == whole.steps.blank_frames.tolist()
    silent = replace(
        Hypothesis.empty(), steps=Steps(np.zeros((0, 2), np.float32), np.array([8], np.int32), whole.steps.blanks[:1])
    )
    after = Hypothesis.concatenate([whole, silent])
    found = Confidence("max_prob", exclude_blank=False).of_tokens(after, SPEC)
    assert found == pytest.approx([0.5, 0.1]), "blanks of a part without tokens belong to the token before"
    bare = replace(whole, steps=None)
    assert Hypothesis.concatenate([whole, bare]).steps is None


def test_who_cannot_say_refuses() -> None:
    measure = Confidence(exclude_blank=False)
    with pytest.raises(tdt.OptionError, match=r"decoder.*native"):
        tdt.load(decoder="onnx", confidence=measure)
    with tdt.load(confidence=measure) as asr, pytest.raises(tdt.OptionError, match="beam"):
        asr.transcribe(np.zeros(16000, np.float32), beam=2)
    assert math.isclose(Confidence().of_word([0.5]), 0.5)
