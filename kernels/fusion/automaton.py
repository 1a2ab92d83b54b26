"""A deterministic automaton over token ids with failure (back-off) transitions, as flat arrays.

Both a tree of phrases (Aho-Corasick) and an n-gram language model with back-off are one: from each state some tokens
have arcs of their own, and for all others the state's back-off weight is paid and its failure state asked. State 0, the
root, ends every chain of failures: there each token has a weight and a next state.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

LANES = 16  # floats that compiled kernels work on at a time


class Automaton(NamedTuple):
    """S states, A arcs, V tokens; read-only, shared by any number of threads.

    The score of token k in state s, in float32 and in this order: ``acc = 0; while s is not the root and has no arc k:
    acc += backoff_weights[s]; s = backoffs[s]``; then acc + the weight of the arc, or of k at the root.

    Attributes
    ----------
    arc_starts : ndarray [shape=(S + 1,)], int64
        The arcs of state s are arc_starts[s] to arc_starts[s + 1] (exclusive); the root has none.
    labels : ndarray [shape=(A,)], int32
        Token of each arc, rising within a state.
    targets : ndarray [shape=(A,)], int32
    weights : ndarray [shape=(A,)], float32
    backoffs : ndarray [shape=(S,)], int32
        Failure state of each state, 0 for the root.
    backoff_weights : ndarray [shape=(S,)], float32
    root_weights : ndarray [shape=(V16,)], float32
        Score of each token at the root; zeros fill up to a multiple of 16.
    root_targets : ndarray [shape=(V,)], int32
    start : int
        State at the start of an utterance.
    longest : int
        Most states on a chain of failures, the root left out.
    """

    arc_starts: Any
    labels: Any
    targets: Any
    weights: Any
    backoffs: Any
    backoff_weights: Any
    root_weights: Any
    root_targets: Any
    start: int
    longest: int


_KINDS = {
    "arc_starts": np.int64, "labels": np.int32, "targets": np.int32, "weights": np.float32, "backoffs": np.int32,
    "backoff_weights": np.float32, "root_weights": np.float32, "root_targets": np.int32,
}  # fmt: skip


def automaton(
    arc_starts: Any,
    labels: Any,
    targets: Any,
    weights: Any,
    backoffs: Any,
    backoff_weights: Any,
    root_weights: Any,
    root_targets: Any,
    start: int = 0,
) -> Automaton:
    """Return an automaton over copies of arrays where their types differ, checked once so that loops need not.

    Parameters
    ----------
    arc_starts, labels, targets, weights, backoffs, backoff_weights, root_targets : array
        As in :class:`Automaton`.
    root_weights : array [shape=(V,)]
    start : int

    Returns
    -------
    Automaton

    Raises
    ------
    ValueError
        Where sizes do not fit, a number is out of its range, arcs of a state do not rise, or failures go in a circle.
    """
    given = dict(zip(_KINDS, (arc_starts, labels, targets, weights, backoffs, backoff_weights, root_weights,
                              root_targets), strict=True))  # fmt: skip
    arrays = {name: np.ascontiguousarray(value, _KINDS[name]) for name, value in given.items()}
    _check_sizes(arrays)
    states, tokens = len(arrays["backoffs"]), len(arrays["root_targets"])
    if not 0 <= start < states:
        raise ValueError(f"the start state {start} is none of the {states} states")
    _check_ranges(arrays, states, tokens)
    longest = _longest_chain(arrays["backoffs"])
    padded = np.zeros(-(-tokens // LANES) * LANES, np.float32)
    padded[:tokens] = arrays["root_weights"]
    arrays["root_weights"] = padded
    for array in arrays.values():
        array.flags.writeable = False
    return Automaton(**arrays, start=start, longest=longest)


def _check_sizes(arrays: dict[str, Any]) -> None:
    states = len(arrays["backoffs"])
    expected = {
        "arc_starts": states + 1,
        "targets": len(arrays["labels"]),
        "weights": len(arrays["labels"]),
        "backoff_weights": states,
        "root_weights": len(arrays["root_targets"]),
    }
    if states == 0 or len(arrays["root_targets"]) == 0:
        raise ValueError("an automaton has at least one state and one token")
    for name, array in arrays.items():
        if array.ndim != 1 or len(array) != expected.get(name, len(array)):
            raise ValueError(f"{name} has shape {array.shape}; expected ({expected.get(name, 'n')},)")


def _check_ranges(arrays: dict[str, Any], states: int, tokens: int) -> None:
    starts, labels = arrays["arc_starts"], arrays["labels"]
    if starts[0] != 0 or starts[1] != 0 or starts[-1] != len(labels) or (np.diff(starts) < 0).any():
        raise ValueError("arc_starts must rise from 0 to the number of arcs, and the root has no arcs of its own")
    for name, most in (("labels", tokens), ("targets", states), ("backoffs", states), ("root_targets", states)):
        if len(arrays[name]) and not 0 <= arrays[name].min() <= arrays[name].max() < most:
            raise ValueError(f"{name} must lie in 0 to {most - 1}")
    for name in ("weights", "backoff_weights", "root_weights"):
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name} must be finite numbers")
    rising = np.diff(labels) > 0
    borders = starts[1:-1]
    rising[borders[(borders > 0) & (borders < len(labels))] - 1] = True
    if not rising.all():
        raise ValueError("the labels of each state's arcs must rise")


def _longest_chain(backoffs: Any) -> int:
    """Return the most states on a chain of failures without the root; doubling, so that long chains take few rounds."""
    if backoffs[0] != 0:
        raise ValueError("the root's failure state is the root")
    lengths, jumps = (backoffs >= 0).astype(np.int64), backoffs.astype(np.int64)
    lengths[0] = 0
    for _ in range(len(backoffs).bit_length() + 1):
        if not jumps.any():
            return int(lengths.max())
        lengths += lengths[jumps]
        jumps = jumps[jumps]
    raise ValueError("failures go in a circle that does not pass the root")
