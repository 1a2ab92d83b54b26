"""Contexts in whole frames: NeMo's truncation, without what floating point takes from it."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tdt
from tdt.errors import OptionError
from tdt.live.contexts import PRESETS, contexts_of

from .feeding import SPEC

NEMO = json.loads((Path(__file__).parents[1] / "data/streaming.json").read_text(encoding="utf-8"))["contexts"]


@pytest.mark.parametrize("name", NEMO)
def test_nemos_contexts_have_nemos_frames(name: str) -> None:
    contexts = contexts_of(SPEC, *NEMO[name]["seconds"])
    assert [contexts.left, contexts.chunk, contexts.right] == NEMO[name]["encoder_frames"]


@pytest.mark.parametrize(("seconds", "frames"), [(0.56, 7), (2.32, 29), (4.56, 57), (4.64, 58), (0.0799, 0), (0.08, 1)])
def test_a_multiple_of_a_frame_keeps_all_its_frames(seconds: float, frames: int) -> None:
    assert contexts_of(SPEC, seconds, 1.0, seconds).left == frames
    assert contexts_of(SPEC, seconds, 1.0, seconds).right == frames


@given(st.integers(1, 40_000))
def test_frames_are_those_of_exact_arithmetic(milliseconds: int) -> None:
    exact = Fraction(milliseconds, 1000) // Fraction(8, 100)
    assert contexts_of(SPEC, milliseconds / 1000, 1).left == exact


@pytest.mark.parametrize("latency", PRESETS)
def test_presets_are_as_quick_as_they_say(latency: int) -> None:
    contexts = contexts_of(SPEC, latency=latency)
    assert latency - 2 * 0.08 < contexts.latency_seconds <= latency
    assert contexts.times_the_audio < 13


@pytest.mark.parametrize("latency", PRESETS)
def test_a_full_window_has_as_many_mel_frames_as_it_says(latency: int) -> None:
    contexts = contexts_of(SPEC, latency=latency)
    with tdt.load() as asr:
        features = asr.features([np.zeros(contexts.frames * contexts.frame_samples, np.float32)])
    assert features.lengths.tolist() == [contexts.mel_frames]
    assert SPEC.encoder_length(contexts.mel_frames) == contexts.frames


def test_what_is_not_given_comes_from_the_preset() -> None:
    assert contexts_of(SPEC) == contexts_of(SPEC, 10, 2, 2) == contexts_of(SPEC, latency=4)
    assert contexts_of(SPEC, left=5, latency=2) == contexts_of(SPEC, 5, 1, 1)
    assert contexts_of(SPEC).times_the_audio == 7


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(OptionError, match=r"^chunk=0\.0799 .*expected at least one encoder frame, 0\.08 seconds"):
        contexts_of(SPEC, chunk=0.0799)
    for name in ("left", "chunk", "right"):
        for value in (-0.1, float("nan"), "2", True, 3601):
            with pytest.raises(OptionError, match=rf"^{name}="):
                contexts_of(SPEC, **{name: value})  # type: ignore[arg-type]
    for value in (3, 0, "4", True, 4.0):
        with pytest.raises(OptionError, match=r"^latency="):
            contexts_of(SPEC, latency=value)  # type: ignore[arg-type]


def test_a_window_longer_than_the_model_takes_is_refused() -> None:
    table = replace(SPEC, max_encoder_frames=100)
    assert contexts_of(table, 4, 2, 2).frames == 100
    for spec, seconds in ((table, None), (SPEC, 8.0)):
        with pytest.raises(OptionError, match=r"8\.08 seconds.* at most 8 seconds"):
            contexts_of(spec, 4.08, 2, 2, longest_seconds=seconds)
    assert contexts_of(SPEC, 4, 2, 2, longest_seconds=8.0).frames == 100
