"""Cutting and joining: all speech is told once, windows keep their limits, the stream's blocks do not matter."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tdt.errors import OptionError
from tdt.longform.chunking import Plan, Planner, Window, runs, softest

if TYPE_CHECKING:
    from collections.abc import Sequence

PLAN = Plan(chunk=100, context=12, margin=3, pause=20, least=5, target=50, reset=40)


def windows_of(
    talk: np.ndarray,
    plan: Plan = PLAN,
    block: int = 10_000,
    level: np.ndarray | None = None,
    *,
    at_once: bool = False,
) -> list[Window]:
    planner = Planner(plan, at_once=at_once)
    level = (talk * 20.0 - 60).astype(np.float32) if level is None else level
    found = []
    for start in range(0, len(talk), block):
        found += planner.add(talk[start : start + block], level[start : start + block])
    return found + list(planner.finish())


def pattern(*stretches: tuple[int, int]) -> np.ndarray:
    return np.concatenate([np.full(length, bool(value)) for value, length in stretches])


def test_what_fits_stays_in_one_piece_whatever_it_is() -> None:
    for talk in (pattern((1, 100)), pattern((0, 100)), pattern((0, 30), (1, 20), (0, 30))):
        assert windows_of(talk) == [Window.closed(0, 0, len(talk), "fresh")]
    assert windows_of(np.zeros(0, bool)) == []


def test_long_pauses_end_any_window_and_are_left_out_but_for_the_margins() -> None:
    windows = windows_of(pattern((1, 10), (0, 300), (1, 40), (0, 30), (1, 30), (0, 200)))
    assert windows == [
        Window.closed(0, 0, 13, "fresh"),
        Window.closed(307, 307, 353, "fresh"),
        Window.closed(377, 377, 413, "carried"),
    ]


def test_the_longer_the_window_the_shorter_a_pause_will_do() -> None:
    assert windows_of(pattern((1, 10), (0, 12), (1, 90)))[0].last > 22, "12 frames are not enough after 10"
    assert windows_of(pattern((1, 40), (0, 8), (1, 90)))[:1] == [Window.closed(0, 0, 43, "fresh")]
    windows = windows_of(pattern((1, 60), (0, 5), (1, 90)))
    assert windows[0] == Window.closed(0, 0, 62, "fresh")  # half of a pause shorter than two margins
    assert windows[1].begin == 62
    assert windows[1].link == "carried"


@pytest.mark.parametrize("block", [1, 7, 10_000])
def test_after_a_long_pause_decoding_starts_afresh_however_the_stream_comes(block: int) -> None:
    windows = windows_of(pattern((1, 10), (0, 242), (1, 90)), block=block)
    assert [window.link for window in windows] == ["fresh", "fresh"]


def test_an_hour_of_silence_gives_no_window() -> None:
    assert windows_of(np.zeros(45_000, bool), block=100) == []


@pytest.mark.parametrize("block", [1, 7, 10_000])
def test_at_once_a_long_pause_is_told_before_speech_follows(block: int) -> None:
    talk = pattern((0, 60), (1, 30), (0, 30), (1, 30), (0, 90), (1, 40), (0, 60))
    first, carried, again = windows_of(talk, block=block)
    silences = [Window.silent(carried.last), Window.silent(again.last)]
    assert all(silence.is_silent for silence in silences)
    assert windows_of(talk, block=block, at_once=True) == [first, carried, silences[0], again, silences[1]]
    planner = Planner(PLAN, at_once=True)
    known = carried.last + PLAN.reset + PLAN.margin  # so far, speech may begin at once
    before = list(planner.add(talk[:known], np.zeros(known, np.float32)))
    assert before == [first, carried, silences[0]]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 150)), min_size=1, max_size=12), st.integers(1, 400))
def test_at_once_windows_do_not_depend_on_blocks_either(stretches: list[tuple[bool, int]], block: int) -> None:
    talk = pattern(*stretches)
    windows = windows_of(talk, at_once=True)
    assert windows_of(talk, block=block, at_once=True) == windows
    check_windows([window for window in windows if not window.is_silent], talk, PLAN)


def test_windows_overlap_in_a_short_pause_and_not_in_a_long_one() -> None:
    plan = replace(PLAN, aside=6)
    windows = windows_of(pattern((1, 60), (0, 5), (1, 60), (0, 30), (1, 90)), plan)
    assert windows[:2] == [
        Window(0, 0, 62, 68, "fresh", back=59, ahead=65),
        Window(56, 62, 128, 128, "joined", back=128, ahead=128),
    ]
    assert windows[2].link == "carried"


def test_speech_without_a_pause_is_cut_where_it_is_softest() -> None:
    level = np.full(150, -20, np.float32)
    level[60:63] = -35
    windows = windows_of(np.ones(150, bool), level=level)
    assert windows[0] == Window(0, 0, 61, 73, "fresh", back=55, ahead=67)
    assert windows[1][:2] == (49, 61)
    assert windows[1].link == "joined"


def check_windows(windows: Sequence[Window], talk: np.ndarray, plan: Plan) -> None:
    told = np.zeros(len(talk), int)
    for window in windows:
        assert 0 <= window.begin <= window.first < window.last <= window.end <= len(talk)
        assert window.end - window.begin <= plan.chunk
        assert window.first - window.begin <= plan.context
        assert window.end - window.last <= plan.context
        assert window.back <= window.last <= window.ahead <= window.end
        told[window.first : window.last] += 1
    assert told.max(initial=0) <= 1
    assert np.all(told[talk] == 1), "speech was left out"
    for earlier, later in pairwise(windows):
        assert earlier.last <= later.first
        if later.link == "joined":
            assert earlier.last == later.first
            assert earlier.first <= later.begin <= earlier.back
            assert later.back >= min(earlier.ahead, later.last)
        else:
            assert later.begin == later.first
            assert (later.first - earlier.last >= plan.reset) == (later.link == "fresh")


speech_patterns = st.lists(st.tuples(st.booleans(), st.integers(1, 150)), min_size=1, max_size=12).map(
    lambda stretches: pattern(*stretches)
)
plans = st.builds(
    lambda chunk, context, aside, margin, extra, least, target: Plan(
        chunk,
        min(context, chunk // 4),
        aside,
        margin,
        2 * margin + 1 + extra,
        min(least, 2 * margin + 1 + extra),
        target,
    ),
    st.integers(8, 200),
    st.integers(0, 30),
    st.integers(0, 12),
    st.integers(0, 8),
    st.integers(0, 60),
    st.integers(1, 20),
    st.integers(1, 100),
)


@settings(max_examples=200, deadline=None)
@given(speech_patterns, plans, st.integers(1, 400))
def test_all_speech_is_told_once_and_blocks_do_not_matter(talk: np.ndarray, plan: Plan, block: int) -> None:
    windows = windows_of(talk, plan)
    if len(talk) > plan.chunk:
        check_windows(windows, talk, plan)
    assert windows_of(talk, plan, block) == windows


def test_the_planner_forgets_what_is_behind() -> None:
    planner = Planner(PLAN)
    rng = np.random.default_rng(1)
    for _ in range(300):
        list(planner.add(rng.random(50) > 0.3, np.zeros(50, np.float32)))
        assert len(planner._talk) <= 2 * (PLAN.chunk + PLAN.pause)
    assert planner.needed > 14_000


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ((3, 0), "chunk"),
        ((100, 26), "context"),
        ((100, 10, -1), "aside"),
        ((100, 10, 0, 5, 10), "pause"),
        ((100, 10, 0, 2, 6, 7), "least"),
    ],
)
def test_plans_that_cannot_work(values: tuple[int, ...], match: str) -> None:
    with pytest.raises(OptionError, match=match):
        Plan(*values)


def test_runs_and_softest() -> None:
    assert runs(np.array([1, 1, 0, 1], bool)) == [(0, 2), (3, 4)]
    assert runs(np.zeros(3, bool)) == []
    assert softest(np.array([0, -9, 0, -5, -5, -5, 0], np.float32)) == 4
