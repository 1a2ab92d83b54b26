"""Automata as arrays: what is refused, what is derived."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdt.kernels.fusion.automaton import automaton

# "ab" and "b" over the tokens a, b, c: root, a, b, ab.
PLAIN: dict[str, Any] = {
    "arc_starts": [0, 0, 1, 1, 1],
    "labels": [1],
    "targets": [3],
    "weights": [2.5],
    "backoffs": [0, 0, 0, 2],
    "backoff_weights": [0.0, -1.0, 0.0, 0.0],
    "root_weights": [1.0, 1.0, 0.0],
    "root_targets": [1, 2, 0],
}
TWO_ARCS = {"arc_starts": [0, 0, 2, 2, 2], "targets": [3, 2], "weights": [1.0, 1.0]}


def test_arrays_are_as_said() -> None:
    machine = automaton(**PLAIN, start=1)
    assert machine.start == 1
    assert machine.longest == 2  # ab, b
    assert machine.arc_starts.dtype == np.int64
    for name in ("labels", "targets", "backoffs", "root_targets"):
        assert getattr(machine, name).dtype == np.int32
    for name in ("weights", "backoff_weights", "root_weights"):
        assert getattr(machine, name).dtype == np.float32
    assert machine.root_weights.tolist() == [1.0, 1.0, *[0.0] * 14]
    for array in machine[:8]:
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_one_state_is_enough() -> None:
    machine = automaton([0, 0], [], [], [], [0], [0.0], np.full(16, 3.0), np.zeros(16, int))
    assert machine.longest == 0
    assert machine.root_weights.tolist() == [3.0] * 16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"backoffs": [], "backoff_weights": [], "arc_starts": [0]}, "at least one state", id="no state"),
        pytest.param({"root_weights": [], "root_targets": []}, "at least one state and one token", id="no token"),
        pytest.param({"arc_starts": [0, 0, 1, 1]}, r"arc_starts has shape \(4,\); expected \(5,\)", id="few starts"),
        pytest.param({"targets": [3, 3]}, r"targets has shape \(2,\); expected \(1,\)", id="targets"),
        pytest.param({"weights": []}, r"weights has shape \(0,\)", id="weights"),
        pytest.param({"backoff_weights": [0.0]}, "backoff_weights has shape", id="backoff weights"),
        pytest.param({"root_weights": [0.0]}, "root_weights has shape", id="root weights"),
        pytest.param({"labels": [[1]]}, r"labels has shape \(1, 1\); expected \(n,\)", id="two axes"),
        pytest.param({"start": 4}, "start state 4 is none of the 4", id="start too high"),
        pytest.param({"start": -1}, "start state -1", id="start below 0"),
        pytest.param({"arc_starts": [0, 1, 1, 1, 1]}, "the root has no arcs", id="arcs at the root"),
        pytest.param({"arc_starts": [0, 0, 0, 0, 0]}, "number of arcs", id="arcs left over"),
        pytest.param({"arc_starts": [0, 0, 2, 1, 1]}, "must rise", id="starts fall"),
        pytest.param({"labels": [3]}, "labels must lie in 0 to 2", id="label too high"),
        pytest.param({"labels": [-1]}, "labels must lie", id="label below 0"),
        pytest.param({"targets": [4]}, "targets must lie in 0 to 3", id="target"),
        pytest.param({"backoffs": [0, 0, 4, 0]}, "backoffs must lie", id="backoff"),
        pytest.param({"root_targets": [4, 0, 0]}, "root_targets must lie", id="root target"),
        pytest.param({"weights": [np.nan]}, "weights must be finite", id="NaN"),
        pytest.param({"backoff_weights": [0, np.inf, 0, 0]}, "backoff_weights must be finite", id="infinite"),
        pytest.param({"root_weights": [0, 0, -np.inf]}, "root_weights must be finite", id="minus infinite"),
        pytest.param({**TWO_ARCS, "labels": [1, 0]}, "arcs must rise", id="labels fall"),
        pytest.param({**TWO_ARCS, "labels": [1, 1]}, "arcs must rise", id="label twice"),
        pytest.param({"backoffs": [1, 0, 0, 2]}, "root's failure state is the root", id="root fails elsewhere"),
        pytest.param({"backoffs": [0, 2, 1, 0]}, "circle", id="circle"),
        pytest.param({"backoffs": [0, 1, 0, 0]}, "circle", id="fails to itself"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        automaton(**{**PLAIN, **change})


def test_labels_may_fall_from_state_to_state() -> None:
    machine = automaton(**{**PLAIN, **TWO_ARCS, "arc_starts": [0, 0, 1, 1, 2], "labels": [1, 0]})
    assert machine.labels.tolist() == [1, 0]


@given(st.lists(st.integers(0, 2**16), min_size=1, max_size=60))
def test_the_longest_chain_is_that_of_following_each(draws: list[int]) -> None:
    backoffs = [0] + [draw % (state + 1) for state, draw in enumerate(draws)]  # each fails to an earlier one
    chains = []
    for start in range(len(backoffs)):
        state, length = start, 0
        while state:
            state, length = backoffs[state], length + 1
        chains.append(length)
    zeros = np.zeros(len(backoffs))
    machine = automaton(np.zeros(len(backoffs) + 1), [], [], [], backoffs, zeros, [0.0], [0])
    assert machine.longest == max(chains)
