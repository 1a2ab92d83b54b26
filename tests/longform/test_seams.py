"""Joining two hearings of the same stretch: nothing doubled, nothing lost."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tdt.longform.seams import Seam, join


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
