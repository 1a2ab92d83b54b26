"""Rules of an utterance's end, and pauses, as pure functions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdt.live.endpoint import EndRule, Pause, fired, first_pause, spoken_until, usual_rules
from tdt.stages import Hypothesis


def tokens(*spoken: tuple[int, int]) -> Hypothesis:
    frames, durations = (np.array([entry[place] for entry in spoken], np.int32) for place in (0, 1))
    zeros = np.zeros(len(spoken), np.float32)
    return Hypothesis(np.ones(len(spoken), np.int32), frames, durations, zeros, zeros)


@pytest.mark.parametrize(
    ("frames", "silent", "boundary", "name"),
    [
        (3, 9, "sentence", None),
        (3, 10, "word part", "silence"),
        (374, 0, "sentence", None),
        (375, 0, "sentence", "sentence"),
        (375, 0, "word", None),
        (749, 9, "word", None),
        (750, 0, "word", "length"),
        (750, 0, "word part", None),
        (750, 10, "word part", "silence"),
    ],
)
def test_the_usual_rules(frames: int, silent: int, boundary: str, name: str | None) -> None:
    rule = fired(usual_rules(10, 0.08), frames, silent, boundary)  # type: ignore[arg-type]
    assert (rule and rule.name) == name


def test_silence_can_be_switched_off() -> None:
    assert fired(usual_rules(None, 0.08), 10, 10**6, "word") is None


def test_the_first_rule_counts() -> None:
    rules = (EndRule("a", 5), EndRule("b"))
    assert [fired(rules, frames, 0, "word") for frames in (4, 5)] == [rules[1], rules[0]]


def test_pauses_are_found_between_before_and_after_tokens() -> None:
    spoken = tokens((10, 2), (20, 1))
    assert first_pause(spoken, None, 25, 8) == Pause(1, 20)
    assert first_pause(spoken, 2, 25, 8) == Pause(0, 10)
    assert first_pause(spoken, None, 25, 9) is None
    assert first_pause(spoken, None, 30, 9) == Pause(2, 30)
    assert first_pause(tokens(), None, 1000, 9) is None, "nothing has been said yet"
    assert first_pause(tokens(), 991, 1000, 9) == Pause(0, 1000)
    assert (spoken_until(spoken, 3), spoken_until(tokens(), 3), spoken_until(tokens(), None)) == (21, 3, None)


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 4)), max_size=20), st.integers(1, 12), st.integers(0, 60))
def test_pauses_do_not_depend_on_where_a_piece_ends(steps: list[tuple[int, int]], least: int, cut: int) -> None:
    at, spoken = 0, []
    for step, duration in steps:
        at += max(step, spoken[-1][1] if spoken else 0)
        spoken.append((at, duration))
    end = at + 15
    whole = first_pause(tokens(*spoken), None, end, least)
    cut = min(cut, end)
    before, after = tokens(*[t for t in spoken if t[0] < cut]), tokens(*[t for t in spoken if t[0] >= cut])
    first = first_pause(before, None, cut, least)
    if first is None:
        rest = first_pause(after, spoken_until(before, None), end, least)
        first = rest and Pause(rest.tokens + len(before), rest.frame)
    assert first == whole
