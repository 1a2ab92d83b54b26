"""What the tests of beam search share: NeMo's clips, the naive search of a model, comparisons of n-best lists."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tdt.stages import Hypothesis

from .. import naive_beam
from ..strategies import answers, said

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.fusion.beam import Beam
    from tdt.stages import Fusion

CONFIGS = list(answers("beam_malsd")["configs"])
CLIPS = list(answers("beam_malsd")["configs"][CONFIGS[0]]["clips"])
SHORT_CLIPS = ["05_flite-awb", "09_silence_1s", "10_noise_2s", "14_flite-slt_noisy15dB", "p41_fsdd-theo"]


def searches(
    weights: Any, spec: Any, frames: np.ndarray, beam: Beam, fusion: Fusion | None = None
) -> tuple[naive_beam.Search, list[naive_beam.Beamed]]:
    """Return the naive search of an utterance, and where it begins."""
    models = () if fusion is None else fusion.models
    allowed = None if fusion is None or fusion.allowed is None else frozenset(np.flatnonzero(fusion.allowed).tolist())
    search = naive_beam.Search(
        naive_beam.LabelledNetwork(weights, frames, spec.blank_id),
        spec.durations,
        spec.blank_id,
        beam.size,
        beam.pruning,
        beam.blank_score,
        beam.max_symbols,
        [(weight, naive_beam.walker(model)) for model, weight in models],
        allowed,
    )
    return search, [naive_beam.Beamed(fusions=tuple(model.start for model, _ in models))]


def check(found: Sequence[Any], expected: list[naive_beam.Beamed]) -> None:
    """Compare an n-best list with the naive one."""
    columns = [[list(one.labels), list(one.frames), list(one.durations)] for one in expected]
    assert [said(one.hypothesis) for one in found] == columns
    for one, naive in zip(found, expected, strict=True):
        assert one.score == pytest.approx(naive.score, abs=1e-3)
        assert one.hypothesis.logprobs == pytest.approx(np.array(naive.logprobs), abs=1e-3)


def same(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Say whether two n-best lists are equal bit for bit."""
    return len(one) == len(other) and all(
        a.score == b.score
        and all(
            np.array_equal(getattr(a.hypothesis, f.name), getattr(b.hypothesis, f.name))
            for f in dataclasses.fields(Hypothesis)
        )
        for a, b in zip(one, other, strict=True)
    )
