"""Lengths that batches run at on a device."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tdt.encoding.run_shapes import bucket, run_length
from tdt.longform.batching import BatchRule, plan_batches
from tdt.model.finding import find_model

SPEC = replace(find_model(None)[1], max_encoder_frames=5000)


@pytest.mark.parametrize(
    ("rows", "fineness", "most"), [(1, 4, 33), (2, 8, 65), (3, 8, 65), (4, 16, 121), (32, 16, 121)]
)
def test_lengths_are_few_and_waste_little(rows: int, fineness: int, most: int) -> None:
    sizes = [bucket(frames, rows) for frames in range(1, 2001)]
    assert all(frames <= size for frames, size in enumerate(sizes, 1))
    assert all(size <= max(8, frames * (1 + 1 / fineness)) for frames, size in enumerate(sizes, 1))
    assert len(set(sizes)) <= most
    assert sizes == sorted(sizes)
    assert [bucket(size, rows) for size in sizes] == sizes


@pytest.mark.parametrize("plans", [False, True])
def test_a_length_is_whole_encoder_frames(plans: bool) -> None:
    for mel_frames in range(1, 4001):
        length = run_length(SPEC, mel_frames, 1, plans=plans)
        assert length >= mel_frames
        assert length % 8 == 0
        assert plans or SPEC.encoder_length(length) == SPEC.encoder_length(mel_frames)


def test_nothing_runs_past_the_position_table() -> None:
    short = replace(SPEC, max_encoder_frames=300)
    assert run_length(short, 2391, 1, plans=True) == 2400
    assert run_length(SPEC, 2391, 1, plans=True) == 2560


def test_features_of_like_length_are_one_shape() -> None:
    """The lengths of NeMo's edges, and clips that differ by some milliseconds (F16: each was a shape of its own)."""
    assert len({run_length(SPEC, mel_frames, 1, plans=True) for mel_frames in (999, 1001, 1004)}) == 1


def test_sorted_runs_of_one_clip_find_their_shape_half_of_the_time() -> None:
    seconds = np.clip(np.exp(np.random.default_rng(0).normal(np.log(7), 0.8, 4000)), 1, 40)
    changes, last = 0, 0
    for start in range(0, len(seconds), 32):
        window = seconds[start : start + 32].tolist()
        for (index,) in plan_batches(window, BatchRule.of(1)):
            length = run_length(SPEC, int(window[index] * 100) + 1, 1, plans=True)
            changes += length != last
            last = length
    assert changes < 2000
