"""Which clips share a run."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tdt.longform.batching import BATCH_SIZE, FULL_BATCH_SECONDS, USUAL, BatchRule, plan_batches

lengths = st.lists(st.floats(0.01, 400.0), max_size=40)


@given(lengths, st.none() | st.integers(1, 16))
def test_every_clip_has_one_place(seconds: list[float], batch_size: int | None) -> None:
    batches = plan_batches(seconds, BatchRule.of(batch_size) if batch_size else USUAL)
    assert sorted(index for batch in batches for index in batch) == list(range(len(seconds)))
    assert all(0 < len(batch) <= (batch_size or BATCH_SIZE) for batch in batches)


@given(lengths, st.none() | st.integers(1, 16))
def test_padding_stays_small(seconds: list[float], batch_size: int | None) -> None:
    for batch in plan_batches(seconds, BatchRule.of(batch_size) if batch_size else USUAL):
        longest = max(seconds[index] for index in batch)
        assert all(longest - seconds[index] <= max(0.25 * longest, 0.5) for index in batch)


@given(lengths)
def test_long_clips_make_small_batches(seconds: list[float]) -> None:
    for batch in plan_batches(seconds):
        longest = max(seconds[index] for index in batch)
        assert len(batch) == 1 or len(batch) * longest**2 <= BATCH_SIZE * FULL_BATCH_SECONDS**2


def test_equal_clips_keep_their_order() -> None:
    assert plan_batches([2.0] * 5, BatchRule.of(2)) == [[0, 1], [2, 3], [4]]
    assert plan_batches([]) == []
