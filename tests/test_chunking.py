"""Cutting and joining: all speech is told once, windows keep their limits, the stream's blocks do not matter."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tdt.chunking import PAUSE_SPEECH, FrameGrid, Plan, Planner, Seam, Window, join, quiet_point, runs
from tdt.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

PLAN = Plan(chunk=100, context=12, margin=3, skip=20)


def windows_of(speech: np.ndarray, plan: Plan = PLAN, block: int = 10_000) -> list[Window]:
    planner = Planner(plan)
    level = (speech * 20 - 60).astype(np.float32)
    found = []
    for start in range(0, len(speech), block):
        found += planner.add(speech[start : start + block], level[start : start + block])
    return found + list(planner.finish())


def pattern(*stretches: tuple[float, int]) -> np.ndarray:
    return np.concatenate([np.full(length, value, np.float32) for value, length in stretches])


def test_what_fits_stays_in_one_piece_whatever_it_is() -> None:
    for speech in (pattern((1, 100)), pattern((0, 100)), pattern((0, 30), (1, 20), (0, 30))):
        assert windows_of(speech) == [Window.closed(0, 0, len(speech), joined=False)]
    assert windows_of(np.zeros(0, np.float32)) == []


def test_cut_in_the_middle_of_the_longest_pause_without_the_neighbours_speech() -> None:
    windows = windows_of(pattern((1, 40), (0, 4), (1, 16), (0, 10), (1, 60)))
    assert windows[0] == Window(0, 0, 65, 70, joined=False, back=60, ahead=70)
    assert windows[1].joined
    assert windows[1].begin == 60
    assert windows[1].first == 65


def test_a_short_pause_is_cut_with_full_context() -> None:
    windows = windows_of(pattern((1, 60), (0, 4), (1, 90)))
    assert windows[0] == Window(0, 0, 62, 74, joined=False, back=56, ahead=68)
    assert windows[1].begin == 62 - PLAN.context


def test_long_pauses_are_left_out_but_for_the_margins() -> None:
    windows = windows_of(pattern((1, 50), (0, 300), (1, 40), (0, 200)))
    assert windows == [Window.closed(0, 0, 53, joined=False), Window.closed(347, 347, 393, joined=False)]


def test_an_hour_of_silence_gives_no_window() -> None:
    assert windows_of(np.zeros(45_000, np.float32), block=100) == []


def test_speech_without_a_pause_is_cut_where_it_is_softest() -> None:
    planner = Planner(PLAN)
    level = np.full(150, -20, np.float32)
    level[60:63] = -35
    found = [*planner.add(np.ones(150, np.float32), level), *planner.finish()]
    assert found[0].last == 61
    assert found[0].end == 61 + PLAN.context
    assert found[1].begin == 61 - PLAN.context


def check_windows(windows: Sequence[Window], speech: np.ndarray, plan: Plan) -> None:
    told = np.zeros(len(speech), int)
    for window in windows:
        assert 0 <= window.begin <= window.first < window.last <= window.end <= len(speech)
        assert window.end - window.begin <= plan.chunk
        assert window.first - window.begin <= plan.context
        assert window.end - window.last <= plan.context
        told[window.first : window.last] += 1
    assert told.max(initial=0) <= 1
    assert np.all(told[speech >= PAUSE_SPEECH] == 1), "speech was left out"
    for earlier, later in pairwise(windows):
        assert earlier.last <= later.first
        if later.joined:
            assert earlier.first <= later.begin <= earlier.back <= earlier.last <= earlier.ahead <= earlier.end
            assert later.back >= min(earlier.ahead, later.last)
        assert later.joined == (earlier.last == later.first and later.joined)
        if not later.joined:
            assert later.begin == later.first


speech_patterns = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.31, 0.9]), st.integers(1, 150)), min_size=1, max_size=12
).map(lambda stretches: pattern(*stretches))
plans = st.builds(
    lambda chunk, context, margin, extra: Plan(chunk, min(context, chunk // 4), margin, 2 * margin + 1 + extra),
    st.integers(8, 200),
    st.integers(0, 30),
    st.integers(0, 8),
    st.integers(0, 60),
)


@settings(max_examples=150, deadline=None)
@given(speech_patterns, plans, st.integers(1, 400))
def test_all_speech_is_told_once_and_blocks_do_not_matter(speech: np.ndarray, plan: Plan, block: int) -> None:
    windows = windows_of(speech, plan)
    check_windows(windows, speech, plan)
    assert windows_of(speech, plan, block) == windows


def test_the_planner_forgets_what_is_behind() -> None:
    planner = Planner(PLAN)
    rng = np.random.default_rng(1)
    for _ in range(300):
        list(planner.add(rng.random(50).astype(np.float32), np.zeros(50, np.float32)))
        assert len(planner._speech) <= 2 * (PLAN.chunk + PLAN.skip)
    assert planner.needed > 14_000


@pytest.mark.parametrize(
    ("values", "match"),
    [((3, 0, 0, 1), "chunk"), ((100, 26, 0, 1), "context"), ((100, 10, 5, 10), "skip")],
)
def test_plans_that_cannot_work(values: tuple[int, int, int, int], match: str) -> None:
    with pytest.raises(OptionError, match=match):
        Plan(*values)


def test_runs_and_quiet_point() -> None:
    assert runs(np.array([1, 1, 0, 1], bool)) == [(0, 2), (3, 4)]
    assert runs(np.zeros(3, bool)) == []
    speech = pattern((0.9, 3), (0.1, 2), (0.9, 2), (0, 2), (0.5, 1))
    assert quiet_point(speech, np.zeros(10, np.float32)) == (8, 7, 9)


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=120), st.integers(1, 50), st.sampled_from([640, 1280]))
def test_frame_grid_takes_the_loudest_of_what_overlaps(values: list[float], block: int, frame: int) -> None:
    grid = FrameGrid(512, frame)
    got = np.concatenate([grid.add(np.array(values[i : i + block], np.float32)) for i in range(0, len(values), block)])
    assert len(got) == len(values) * 512 // frame
    for i, value in enumerate(got):
        overlapping = [v for j, v in enumerate(values) if j * 512 < (i + 1) * frame and (j + 1) * 512 > i * frame]
        assert value == np.float32(max(overlapping))


def test_join_on_the_longest_common_run() -> None:
    # the later window hears one token a frame later, has another one at its unsure start, and one more at the end
    assert join([5, 6, 7, 8, 9], [10, 12, 14, 16, 18], [1, 6, 7, 8, 3], [9, 13, 15, 17, 19], 15) == Seam(3, 3)


def test_join_never_doubles_a_token_that_moved_over_the_cut() -> None:
    assert join([5, 6], [10, 14], [5, 6], [10, 15], 15) == Seam(2, 2)  # 6 before the cut in one, at it in the other
    assert join([5, 6], [10, 15], [5, 6], [10, 14], 15) == Seam(1, 1)


def test_join_without_agreement_keeps_each_side() -> None:
    assert join([1, 2], [10, 20], [3, 4], [11, 21], 15) == Seam(1, 1)
    assert join([], [], [3], [15], 15) == Seam(0, 0)
    assert join([1], [14], [], [], 15) == Seam(1, 0)
    assert join([7], [5], [7], [25], 15) == Seam(1, 0), "the same token far apart is another token"


@settings(deadline=None)
@given(st.data())
def test_join_of_two_noisy_hearings(data: st.DataObject) -> None:
    """Two hearings of distinct tokens, jittered, each missing some at its far end: all told once."""
    count = data.draw(st.integers(1, 12))
    cut = 3 * data.draw(st.integers(0, count))
    lost_late = data.draw(st.integers(0, count))
    lost_early = data.draw(st.integers(0, count - lost_late))
    jitter = data.draw(st.lists(st.integers(0, 1), min_size=count, max_size=count))
    truth = list(range(count))
    earlier = truth[: count - lost_late]
    later = truth[lost_early:]
    seam = join(earlier, [3 * i for i in earlier], later, [3 * i + jitter[i] for i in later], cut)
    told = earlier[: seam.keep] + later[seam.drop :]
    if set(earlier) & set(later):
        assert told == truth
