"""Where speech holds no token, and what of a second look belongs there: decisions against naive ones."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tdt.longform.chunking import Window
from tdt.longform.second_look import step_of
from tdt.longform.skips import (
    Addition,
    Stretch,
    Words,
    fitting,
    grouped,
    orphans,
    put_in,
    sure_speech,
    token_free,
    within,
)
from tdt.stages import Hypothesis

# Tokens 0 to 9 begin words, 10 to 19 go on them, 20 and 21 are marks.
PIECES = (*(f"▁w{n}" for n in range(10)), *(f"c{n}" for n in range(10)), ".", ",")
WORDS = Words.of(PIECES)
NOTHING = Hypothesis.empty()


def said(*tokens: tuple[int, int], durations: int = 1) -> Hypothesis:
    """Return tokens given by id and frame."""
    ids, frames = np.array(tokens, np.int32).reshape(-1, 2).T
    spans = np.full(len(ids), durations, np.int32)
    return Hypothesis(ids, frames, spans, np.zeros(len(ids), np.float32))


def told(hypothesis: Hypothesis) -> list[tuple[int, int]]:
    return list(zip(hypothesis.token_ids.tolist(), hypothesis.frames.tolist(), strict=True))


# --- stretches --------------------------------------------------------------------------------------------------------


@given(st.data())
def test_token_free_stretches_are_those_that_a_look_at_each_frame_finds(data: st.DataObject) -> None:
    frames = sorted(data.draw(st.sets(st.integers(0, 60), max_size=8)))
    durations = data.draw(st.lists(st.integers(0, 6), min_size=len(frames), max_size=len(frames)))
    first, last = data.draw(st.integers(0, 40)), data.draw(st.integers(0, 60))
    least = data.draw(st.integers(1, 15))
    tokens = Hypothesis(*(np.array(part, np.int32) for part in (frames, frames, durations)), np.zeros(len(frames)))
    held = {at for frame, length in zip(frames, durations, strict=True) for at in range(frame, frame + max(1, length))}
    expected, run = [], []
    for frame in [*range(first, last), None]:
        if frame is not None and frame not in held:
            run.append(frame)
            continue
        if len(run) >= least:
            expected.append(Stretch(run[0], run[-1] + 1))
        run = []
    assert token_free(tokens, first, last, least) == expected


@given(st.lists(st.sampled_from([0.1, 0.69, 0.7, 0.95]), max_size=40), st.integers(0, 4), st.integers(0, 9))
def test_sure_speech_goes_on_over_short_doubts(speech: list[float], bridged: int, begin: int) -> None:
    sure = [value >= 0.7 for value in np.array(speech, np.float32)]
    filled = list(sure)
    for at, known in enumerate(sure):
        before = next((at - n for n in range(at + 1) if sure[at - n]), None)
        after = next((n for n in range(at, len(sure)) if sure[n]), None)
        if not known and before is not None and after is not None and after - before - 1 <= bridged:
            filled[at] = True
    found = sure_speech(np.array(speech, np.float32), begin, bridged)
    inside = {frame for one in found for frame in range(one.first - begin, one.last - begin)}
    assert inside == {at for at, value in enumerate(filled) if value}
    assert all(later.first > earlier.last for earlier, later in pairwise(found))


def test_only_what_is_long_enough_within_a_free_stretch_counts() -> None:
    sure = [Stretch(0, 12), Stretch(15, 40), Stretch(45, 50)]
    assert within(Stretch(5, 48), sure, 13) == [Stretch(15, 40)]
    assert within(Stretch(20, 32), sure, 13) == []
    assert within(Stretch(20, 33), sure, 13) == [Stretch(20, 33)]


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 60)), max_size=6), st.integers(0, 9), st.integers(2, 25))
def test_groups_hold_all_stretches_in_order_and_are_not_too_long(
    steps: list[tuple[int, int]], apart: int, longest: int
) -> None:
    stretches, at = [], 0
    for pause, length in steps:
        stretches.append(Stretch(at + pause, at + pause + length))
        at += pause + length
    groups = grouped(stretches, apart, longest)
    assert all(0 < one.last - one.first <= longest for one in groups)
    assert all(later.first >= earlier.last for earlier, later in pairwise(groups))
    inside = {frame for one in groups for frame in range(one.first, one.last)}
    spoken = {frame for one in stretches for frame in range(one.first, one.last)}
    assert inside >= spoken
    assert len(inside - spoken) <= sum(pause for pause, _ in steps[1:] if pause <= apart)


# --- tokens -----------------------------------------------------------------------------------------------------------


@given(st.data())
def test_what_was_skipped_is_put_in_whole_and_nothing_twice(data: st.DataObject) -> None:
    """Words of one to three tokens; the first hearing skips some in a row; the look hears all, by a frame off."""
    count = data.draw(st.integers(3, 9))
    ids, begins = [], []
    for word in range(count):
        begins.append(len(ids))
        ids += [word, *(10 + (word + n) % 10 for n in range(data.draw(st.integers(0, 2))))]
    begins.append(len(ids))
    first = data.draw(st.integers(0, count - 1))
    last = data.draw(st.integers(first + 1, count))
    frames = [6 * n for n in range(len(ids))]
    jitter = data.draw(st.lists(st.integers(-2, 2), min_size=len(ids), max_size=len(ids)))
    heard = said(*((token, max(0, frame + by)) for token, frame, by in zip(ids, frames, jitter, strict=True)))
    whole = said(*zip(ids, frames, strict=True))
    before, after = whole.part(0, begins[first]), whole.part(begins[last], len(ids))
    place = Stretch(
        int(before.frames[-1]) + 1 if len(before) else 0, int(after.frames[0]) if len(after) else frames[-1] + 9
    )
    taken = fitting(before, heard, after, place, WORDS)
    joined = put_in(Hypothesis.concatenate([before, after]), [Addition(len(before), 0, taken)])
    assert joined.token_ids.tolist() == ids
    assert np.all(np.diff(joined.frames) >= 0)
    assert np.all(joined.frames[:-1] + joined.durations[:-1] <= joined.frames[1:])


@given(st.data())
def test_whatever_is_heard_whole_words_come_in_order_between_the_neighbours(data: st.DataObject) -> None:
    tokens = st.lists(st.tuples(st.integers(0, 21), st.integers(0, 60)), max_size=12)
    standing = said(*sorted(data.draw(tokens), key=lambda one: one[1]), durations=2)
    heard = said(*sorted(data.draw(tokens), key=lambda one: one[1]), durations=4)
    place = Stretch(20, 40)
    before = standing.part(0, int(np.searchsorted(standing.frames, 19)))
    after = standing.part(int(np.searchsorted(standing.frames, 40)), len(standing))
    taken = fitting(before, heard, after, place, WORDS)
    assert set(told(taken)) <= set(told(heard))
    assert all(place.first <= frame < place.last for frame in taken.frames)
    if len(taken):
        assert WORDS.begin & set(taken.token_ids.tolist())
        assert not len(after) or taken.frames[-1] + taken.durations[-1] <= after.frames[0]


def test_a_neighbour_that_the_look_hears_within_the_stretch_is_not_doubled() -> None:
    before, after = said((1, 10), (11, 12)), said((2, 40), (12, 42))
    assert told(
        fitting(before, said((1, 16), (11, 18), (5, 25), (2, 36), (12, 38)), after, Stretch(13, 40), WORDS)
    ) == [(5, 25)]
    # Heard in its own place as well, it was said twice.
    twice = said((11, 12), (1, 16), (11, 18), (5, 25), (2, 33), (2, 40))
    assert told(fitting(before, twice, after, Stretch(13, 40), WORDS)) == [(1, 16), (11, 18), (5, 25), (2, 33)]


def test_parts_of_words_are_left_out_unless_they_go_on_what_stands_there() -> None:
    place = Stretch(13, 40)
    assert told(fitting(said((1, 10)), said((3, 8), (11, 14), (5, 20)), NOTHING, place, WORDS)) == [(5, 20)]
    assert told(fitting(said((1, 10)), said((1, 11), (11, 14), (5, 20)), NOTHING, place, WORDS)) == [(11, 14), (5, 20)]
    cut = said((5, 20), (6, 37), (13, 41))
    assert told(fitting(NOTHING, cut, said((7, 44)), place, WORDS)) == [(5, 20)]
    assert told(fitting(NOTHING, cut, said((13, 42)), place, WORDS)) == [(5, 20), (6, 37)]


def test_marks_alone_are_no_words_and_do_not_meet_another_mark() -> None:
    place = Stretch(13, 40)
    assert not len(fitting(said((1, 10)), said((1, 10), (20, 20)), NOTHING, place, WORDS))
    assert told(fitting(said((1, 10)), said((5, 20), (20, 24)), said((21, 45)), place, WORDS)) == [(5, 20)]
    assert told(fitting(said((1, 10)), said((5, 20), (20, 24)), said((6, 45)), place, WORDS)) == [(5, 20), (20, 24)]


def test_the_rest_of_a_word_without_its_beginning() -> None:
    assert orphans(said((11, 1), (12, 2), (3, 3)), WORDS) == 2
    assert orphans(said((11, 1), (20, 2), (3, 3)), WORDS) == 1
    assert orphans(said((3, 3)), WORDS) == 0
    assert orphans(said((11, 1), (12, 2)), WORDS) == 0, "all there is"


def test_a_vocabulary_that_parts_no_words() -> None:
    words = Words.of((*(chr(0x3042 + n) for n in range(60)), "、"))
    assert words.begin == frozenset(range(60))
    assert words.marks == {60}
    assert not words.go_on(3)


# --- steps ------------------------------------------------------------------------------------------------------------


@given(st.data())
def test_additions_go_into_the_step_of_their_window_and_keep_the_order(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=6))
    windows = [Window.closed(10 * n, 10 * n, 10 * n + 10, "carried") for n in range(len(sizes))]
    frames = [10 * n + 3 * k for n, size in enumerate(sizes) for k in range(size)]
    frame = data.draw(st.integers(0, 10 * len(sizes) - 1))
    number = int(np.searchsorted(frames, frame))
    step = step_of(number, 0, frame, sizes, windows)
    assert step == frame // 10 or frames[number - 1 : number + 1] == []
    assert sum(sizes[:step]) <= number <= sum(sizes[: step + 1])
    if number < len(frames):
        replaced = step_of(number, 1, frame, sizes, windows)
        assert sum(sizes[:replaced]) <= number < sum(sizes[: replaced + 1])


def test_put_in_replaces_what_it_says() -> None:
    tokens = said((1, 1), (12, 9), (3, 12))
    added = [Addition(0, 0, said((7, 0))), Addition(1, 1, said((8, 4), (9, 6)))]
    assert told(put_in(tokens, added)) == [(7, 0), (1, 1), (8, 4), (9, 6), (3, 12)]
    assert put_in(tokens, []) is tokens
