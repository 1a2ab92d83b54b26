"""The state table: every illegal event raises and changes nothing."""

from __future__ import annotations

import itertools

import pytest

from tdt.errors import DecodingError, StreamFinishedError, TdtError
from tdt.live.states import TABLE, Course, Event, State

PAIRS = list(itertools.product(State, Event))


def course_in(state: State) -> Course:
    course = Course()
    course.state = state
    course.error = DecodingError("first") if state is State.FAILED else None
    return course


@pytest.mark.parametrize(("state", "event"), PAIRS, ids=[f"{state}-{event}" for state, event in PAIRS])
def test_the_table_is_what_happens(state: State, event: Event) -> None:
    course = course_in(state)
    if event in TABLE[state]:
        changed = course.go(event)
        assert course.state is TABLE[state][event]
        assert changed == (course.state is not state)
        return
    with pytest.raises(TdtError) as caught:
        course.go(event)
    assert course.state is state
    assert isinstance(caught.value, DecodingError if state is State.FAILED else StreamFinishedError)


def test_every_state_can_be_reached_and_only_two_are_ends() -> None:
    reached, waiting = set(), [State.OPEN]
    while waiting:
        state = waiting.pop()
        if state not in reached:
            reached.add(state)
            waiting += TABLE[state].values()
    assert reached == set(State) == set(TABLE)
    assert {state for state, row in TABLE.items() if set(row.values()) <= {state}} == {State.FINISHED, State.FAILED}


def test_the_first_error_counts() -> None:
    course, first = Course(), DecodingError("first")
    course.fail(first)
    course.fail(DecodingError("second"))
    assert (course.state, course.error) == (State.FAILED, first)
    done = course_in(State.FINISHED)
    done.fail(first)
    assert (done.state, done.error) == (State.FINISHED, None)
