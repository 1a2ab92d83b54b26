"""Automata walked in plain Python, as their docstring says it: the reference of the tests of this folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tdt.kernels.fusion.automaton import Automaton


def arcs_of(machine: Automaton, state: int) -> dict[int, tuple[int, np.float32]]:
    """Return token → target and weight; of the root, those that lead elsewhere."""
    if state == 0:
        leaving = np.flatnonzero(machine.root_targets).tolist()
        return {token: (int(machine.root_targets[token]), machine.root_weights[token]) for token in leaving}
    begin, end = machine.arc_starts[state : state + 2]
    return {
        int(machine.labels[arc]): (int(machine.targets[arc]), machine.weights[arc])
        for arc in range(int(begin), int(end))
    }


def step(machine: Automaton, state: int, token: int) -> tuple[np.float32, int]:
    """Return a token's score and the next state."""
    paid = np.float32(0)
    while state:
        arcs = arcs_of(machine, state)
        if token in arcs:
            target, weight = arcs[token]
            return np.float32(paid + weight), target
        paid = np.float32(paid + machine.backoff_weights[state])
        state = int(machine.backoffs[state])
    return np.float32(paid + machine.root_weights[token]), int(machine.root_targets[token])


def scores_along(machine: Automaton, tokens: Iterable[int]) -> Iterator[tuple[np.float32, int]]:
    """Yield score and state for each token, from the start."""
    state = machine.start
    for token in tokens:
        score, state = step(machine, state, token)
        yield score, state
