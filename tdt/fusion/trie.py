"""A tree of phrases and its failure links, built one phrase at a time, then frozen into the arrays of an automaton.

Sources: Aho and Corasick, Efficient string matching (1975); the weights are those of NeMo 3.0.0's boosting tree
(nemo/collections/asr/parts/context_biasing/{context_graph_universal,boosting_graph_batched}.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.kernels.fusion.automaton import Automaton

    Int64 = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
    Float64 = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Built:
    """What phrases are for one vocabulary.

    Parameters
    ----------
    automaton : Automaton
    sequences : dict
        Token ids → phrase as given.
    scores : dict
        Token ids → context score.
    """

    automaton: Automaton
    sequences: dict[tuple[int, ...], str]
    scores: dict[tuple[int, ...], float]


@dataclass(slots=True)
class Trie:
    """Token sequences with scores, as a tree: a node for each prefix, node 0 for the empty one.

    A phrase of score c gives its token at depth i (1, 2, …) the weight w: c at depth 1 and with `uniform_weights`, else
    c·depth_scaling ± ln(i), with the sign of c; 0 where c is 0. A node's weight is the highest of the phrases through
    it, its sum S that of its parent and its weight, whatever the order of the phrases.

    With `as_nemo` it is as in NeMo: always + ln(i); a phrase that meets a node which is there makes its weight
    max(c, weight), c not scaled, and its sum anew, but not the sums below it. So where phrases have several scores
    more or less is taken back than was given, and the order of the phrases matters. Without it, the tree is bit for bit
    NeMo's if all scores are one positive number and `depth_scaling` is at least 1.

    Parameters
    ----------
    size : int
        Tokens of the vocabulary, V.
    depth_scaling, unk_score : float
    uniform_weights, as_nemo : bool
    """

    size: int
    depth_scaling: float = 2.0
    unk_score: float = 0.0
    uniform_weights: bool = False
    as_nemo: bool = False
    # By node, in the order of creation: parent and token (as parent · V + token), depth, c or w, S, end of a phrase.
    _children: dict[int, int] = field(init=False, repr=False, default_factory=dict)
    _depths: list[int] = field(init=False, repr=False, default_factory=lambda: [0])
    _weights: list[float] = field(init=False, repr=False, default_factory=lambda: [0.0])
    _sums: list[float] = field(init=False, repr=False, default_factory=lambda: [0.0])
    _ends: set[int] = field(init=False, repr=False, default_factory=set)

    def __len__(self) -> int:
        return len(self._depths)

    def insert(self, tokens: Sequence[int], score: float) -> None:
        """Add a phrase of at least one token, each 0 to V - 1, with its context score."""
        if self.as_nemo:
            self._insert_as_nemo(tokens, score)
            return
        children, depths, scores, size = self._children, self._depths, self._weights, self.size
        node = 0
        for depth, token in enumerate(tokens, 1):
            edge = node * size + token
            node = children.get(edge, 0)
            if node == 0:
                node = children[edge] = len(depths)
                depths.append(depth)
                scores.append(score)
            elif scores[node] < score:  # weights rise with the score, so the highest score has the highest weight
                scores[node] = score
        self._ends.add(node)

    def _insert_as_nemo(self, tokens: Sequence[int], score: float) -> None:
        node = 0
        for depth, token in enumerate(tokens, 1):
            parent, edge = node, node * self.size + token
            node = self._children.get(edge, 0)
            if node == 0:
                node = self._children[edge] = len(self._depths)
                self._depths.append(depth)
                plain = depth == 1 or self.uniform_weights
                self._weights.append(score if plain else score * self.depth_scaling + math.log(depth))
                self._sums.append(0.0)
            else:
                self._weights[node] = max(score, self._weights[node])
            self._sums[node] = self._sums[parent] + self._weights[node]
        self._ends.add(node)

    def freeze(self) -> Automaton:
        """Return the automaton: states level by level, within a level by their parents' creation, then by token.

        Where the tree has just the root it has one state, which gives every token `unk_score`.
        """
        from tdt.kernels.fusion.automaton import automaton

        tree = self._levels()
        weights, sums = self._scores(tree)
        failures = tree.failures()
        ends = np.zeros(len(self), bool)
        ends[list(self._ends)] = True
        ends = ends[tree.created]
        taken_back = sums[failures] - sums
        if self.uniform_weights:  # as Icefall: the end gives all of its sum once more, and leaving it takes one back
            deep = ends & (tree.depths >= 2)
            weights = np.where(deep, weights + sums, weights)
            ends = ends & ~deep
        taken_back[ends] = 0.0
        first = tree.depths == 1
        root_weights, root_targets = np.full(self.size, self.unk_score), np.zeros(self.size, np.int64)
        root_weights[tree.tokens[first]], root_targets[tree.tokens[first]] = weights[first], np.flatnonzero(first)
        below = tree.by_edge[1 + int(first.sum()) :]  # past the root and its children, by parent and token
        starts = np.searchsorted(tree.parents[below], np.arange(len(self) + 1))
        return automaton(
            starts, tree.tokens[below], below, weights[below], failures, taken_back, root_weights, root_targets
        )

    def _levels(self) -> _Levels:
        """Return the nodes in the order of the automaton's states."""
        edges = np.fromiter(self._children, np.int64, len(self._children))
        parents, tokens = np.zeros((2, len(self)), np.int64)
        parents[1:], tokens[1:] = np.divmod(edges, self.size)  # a dictionary keeps the order of creation
        depths = np.array(self._depths)
        created = np.argsort((depths * len(self) + parents) * self.size + tokens)
        states = np.empty_like(created)
        states[created] = np.arange(len(self))
        parents, tokens = states[parents[created]], tokens[created]
        by_edge = np.argsort(np.append(-1, parents[1:] * self.size + tokens[1:]))
        return _Levels(self.size, created, parents, tokens, depths[created], by_edge)

    def _scores(self, tree: _Levels) -> tuple[Float64, Float64]:
        """Return weights and sums by state."""
        given = np.array(self._weights)[tree.created]
        if self.as_nemo:
            return given, np.array(self._sums)[tree.created]
        if self.uniform_weights:
            weights = given
        else:
            logs = np.array([0.0, *(math.log(depth) for depth in range(1, tree.depths[-1] + 1))])
            scaled = given * self.depth_scaling + np.sign(given) * logs[tree.depths]
            weights = np.where(tree.depths <= 1, given, scaled)
        sums = np.zeros(len(given))
        for level in tree.slices():
            sums[level] = sums[tree.parents[level]] + weights[level]
        return weights, sums


@dataclass(frozen=True, slots=True)
class _Levels:
    """Nodes by state: their number at creation, parent (a state), token, depth; and states by parent, then token."""

    size: int
    created: Int64
    parents: Int64
    tokens: Int64
    depths: Int64
    by_edge: Int64

    def slices(self) -> list[slice]:
        """Return the states of each depth from 1 on."""
        borders = np.searchsorted(self.depths, np.arange(1, self.depths[-1] + 2))
        return [slice(int(begin), int(end)) for begin, end in pairwise(borders)]

    def failures(self) -> Any:
        """Return the state of the longest proper suffix of each state's tokens that is a state, too."""
        order = self.by_edge
        edges = self.parents[order] * self.size + self.tokens[order]
        edges[0] = -1
        failures, after_root = np.zeros(len(edges), np.int64), np.zeros(self.size, np.int64)
        first, *deeper = [*self.slices(), slice(0, 0)]
        after_root[self.tokens[first]] = np.arange(first.start, first.stop)
        for level in deeper:
            waiting = np.arange(level.start, level.stop)
            suffixes = failures[self.parents[waiting]]  # of what stands before the last token
            while len(waiting):
                at_root = suffixes == 0
                failures[waiting[at_root]] = after_root[self.tokens[waiting[at_root]]]
                waiting, suffixes = waiting[~at_root], suffixes[~at_root]
                wanted = suffixes * self.size + self.tokens[waiting]
                places = np.minimum(np.searchsorted(edges, wanted), len(edges) - 1)
                found = edges[places] == wanted
                failures[waiting[found]] = order[places[found]]
                waiting, suffixes = waiting[~found], failures[suffixes[~found]]
        return failures
