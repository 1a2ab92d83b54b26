"""Beam search in the native engine: a thin driver over :mod:`tdt.kernels.decoder.beam_search`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.decoding.beam_states import BeamState, settle
from tdt.decoding.cores import shares_of
from tdt.decoding.native_runs import Job, not_finite
from tdt.errors import OptionError
from tdt.stages import Hypothesis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.decoding.native_runs import Runs
    from tdt.fusion import Beam
    from tdt.stages import Encoded, Fusion


@dataclass(frozen=True, slots=True)
class Piece:
    """Utterances for one thread: frames of each, where each stands, what is added to the logits, how to search."""

    frames: list[Any]
    projected: bool
    states: list[BeamState | None]
    fusions: list[Fusion] | None
    beam: Beam
    helpers: int


class BeamRuns:
    """Runs beam searches on the weights, buffers and threads of a native engine.

    Parameters
    ----------
    runs : Runs
    """

    def __init__(self, runs: Runs) -> None:
        from tdt.kernels.decoder import beam_buffers, beam_search, beam_task, fused_buffers

        self._runs = runs
        self._kernels, self._buffers, self._table, self._fused = beam_search, beam_buffers, beam_task, fused_buffers

    def spread(
        self,
        frames: Any,
        encoded: Encoded,
        states: list[BeamState | None],
        fusions: list[Fusion] | None,
        beam: Beam,
    ) -> tuple[list[BeamState], Any]:
        """Decode a batch, cut into shares for the threads there are; return the states and the counters."""
        lengths = encoded.lengths.astype(np.int64)
        parts, helpers = self._runs.helpers.teams(len(lengths))
        shares = shares_of(lengths, parts)
        pieces = [
            Piece(
                [frames[u, : lengths[u]] for u in share],
                encoded.projected is not None,
                [states[u] for u in share],
                None if fusions is None else [fusions[u] for u in share],
                beam,
                helpers,
            )
            for share in shares
        ]
        results = self._runs.spread(pieces, self.run)
        found = {
            u: state
            for share, (part, _) in zip(shares, results, strict=True)
            for u, state in zip(share.tolist(), part, strict=True)
        }
        return [found[u] for u in range(len(lengths))], sum(counters for _, counters in results)

    def run(self, piece: Piece) -> tuple[list[BeamState], Any]:
        """Decode the utterances of one thread.

        Returns
        -------
        states : list of BeamState
        counters : ndarray
            See :mod:`tdt.kernels.decoder.task`.

        Raises
        ------
        DecodingError
            Where the networks produce numbers that are not finite.
        """
        runs, count, size = self._runs, len(piece.frames), piece.beam.size
        arrays, fused = self._begin(piece)
        slots = self._slots(arrays)
        out = runs.buffers.emitted_tokens(1, 1)
        job = Job(piece.frames, piece.projected, np.arange(count), slots, out, piece.helpers)
        with runs.lent(job, count * size) as lent:
            self._seed(piece, arrays, slots, lent.work, fused)
            own, row = self._point(lent.task, arrays, fused, size, piece.helpers)
            point = partial(self._point_helper, own)
            with runs.helpers.beside(self._kernels.run, lent, point):
                arrays = self._search(lent.task, lent.work, arrays, count)
            found = self._collect(lent.task, lent.work, arrays, count, size)
        del own, row
        states = [self._state(piece, arrays, slots, found, u) for u in range(count)]
        return states, lent.count()

    def _begin(self, piece: Piece) -> tuple[Any, Any]:
        """Return the arrays of a search and of what is added to the logits."""
        runs, beam = self._runs, piece.beam
        fused, models = None, 0
        if piece.fusions is not None:
            additions = [
                self._fused.Addition(fusion.models, [model.start for model, _ in fusion.models], fusion.allowed)
                for fusion in piece.fusions
            ]
            fused = self._fused.fused_state(additions, runs.row_width, 1)
            models = fused.listed.shape[1] if any(fusion.models for fusion in piece.fusions) else 0
        frames = max((len(part) for part in piece.frames), default=0)
        opened = max((sum(map(len, state.opened)) for state in piece.states if state is not None), default=0)
        room = beam.size * (frames + 4) + opened + 1
        sizes = self._buffers.Sizes(len(piece.frames), beam.size, models, runs.row_width, room)
        arrays = self._buffers.beam_arrays(sizes)
        self._buffers.set_beam_rule(
            arrays.table, beam.max_symbols, early=beam.pruning == "early", weighted=beam.blank_score != "no_score"
        )
        if fused is not None:
            self._buffers.set_beam_fusion(arrays.table, fused)
            arrays.hypotheses.masks[:] = fused.masks
            arrays.hypotheses.weights[:] = [
                sum(weight for _, weight in fusion.models) for fusion in piece.fusions or ()
            ]
        return arrays, fused

    def _slots(self, arrays: Any) -> Any:
        """Return the states of the prediction network, a slot each: what is after a label is before the next."""
        weights = self._runs.weights
        slots = self._runs.buffers.decoding_state(weights, weights.bias.shape[0], len(arrays.slot_nodes))
        return slots._replace(next_hidden=slots.hidden, next_cell=slots.cell)

    def _point(self, task: Any, arrays: Any, fused: Any, size: int, helpers: int) -> tuple[Any, Any]:
        """Point the task to the arrays; return what has to be kept meanwhile: a row for each thread, one of scores."""
        fields = self._runs.fields
        own = self._buffers.beam_scratch(size, helpers + 1)
        row = None if fused is None else self._fused.scratch(fused)
        task[fields.BEAM], task[fields.BEAM_SCRATCH] = arrays.table.ctypes.data, own[0].ctypes.data
        if row is not None:
            task[fields.SCRATCH] = row.ctypes.data
        return own, row

    def _point_helper(self, own: Any, task: Any, number: int) -> None:
        task[self._runs.fields.BEAM_SCRATCH] = own[number].ctypes.data

    def _seed(self, piece: Piece, arrays: Any, slots: Any, work: Any, fused: Any) -> None:
        """Write where the utterances stand, and list their first slots."""
        lengths = [len(part) for part in piece.frames]
        now = arrays.hypotheses
        now.stops[:] = lengths
        now.starts[:] = list(accumulate([0, *lengths[:-1]]))[: len(lengths)]
        listed = 0
        for u, state in enumerate(piece.states):
            places = self._seed_start(arrays, slots, u) if state is None else self._seed_state(arrays, slots, u, state)
            if fused is not None and arrays.model_states.shape[1]:
                models = fused.states.shape[1] if state is None else state.model_states.shape[1]
                for slot, h in places.items():
                    arrays.model_states[slot, :models] = fused.states[u] if state is None else state.model_states[h]
                work.emitted[listed : listed + len(places)] = list(places)
                listed += len(places)
        arrays.table[self._table.FIRSTS] = listed

    def _seed_start(self, arrays: Any, slots: Any, u: int) -> dict[int, int]:
        """Begin an utterance with one hypothesis without tokens; return slots and a hypothesis of each."""
        first, slot = self._runs.first, u * self._buffers.slots_of(arrays.hypotheses.scores.shape[1])
        slots.hidden[slot], slots.cell[slot] = first.next_hidden[0], first.next_cell[0]
        slots.projected[slot] = first.projected[0]
        self._new_node(arrays, u, -1, -1, slot)
        arrays.hypotheses.live[u], arrays.hypotheses.paths[u, 0] = 1, -1
        return {slot: 0}

    def _seed_state(self, arrays: Any, slots: Any, u: int, state: BeamState) -> dict[int, int]:
        """Go on where a piece ended; hypotheses of equal labels have one node again."""
        now, alive = arrays.hypotheses, len(state.scores)
        now.live[u] = alive
        now.scores[u, :alive], now.times[u, :alive], now.repeats[u, :alive] = state.scores, state.skips, state.repeats
        now.paths[u, :alive] = -1 - np.arange(alive)
        self._new_node(arrays, u, -1, -1, -1)
        children: dict[tuple[int, int], int] = {}
        begin = u * self._buffers.slots_of(now.scores.shape[1])
        places: dict[int, int] = {}
        hidden, joint = state.hidden.shape[2], state.projected.shape[1]
        for h, part in enumerate(state.opened):
            node = 0
            for label in part.token_ids.tolist():
                if (node, label) not in children:
                    children[node, label] = self._new_node(arrays, u, node, label, -1)
                node = children[node, label]
            now.nodes[u, h] = node
            at = arrays.memory.tree[u, node]
            if at[self._table.SLOT] < 0:
                slot = begin + len(places)
                places[slot] = h
                at[self._table.SLOT], arrays.slot_nodes[slot] = slot, node
                slots.hidden[slot, :, :hidden], slots.cell[slot, :, :hidden] = state.hidden[h], state.cell[h]
                slots.projected[slot, :joint] = state.projected[h]
        return places

    def _new_node(self, arrays: Any, u: int, prefix: int, label: int, slot: int) -> int:
        """Add a sequence of labels to an utterance's tree."""
        fields, tree = self._table, arrays.memory.tree[u]
        node = int(arrays.memory.tree_counts[u])
        arrays.memory.tree_counts[u] = node + 1
        sibling = -1
        if prefix >= 0:
            sibling, tree[prefix, fields.CHILD] = tree[prefix, fields.CHILD].copy(), node
        tree[node] = 0
        tree[node, [fields.PREFIX, fields.LABEL, fields.CHILD]] = prefix, label, -1
        tree[node, [fields.SIBLING, fields.SLOT, fields.ENTRY]] = sibling, slot, -1
        if slot >= 0:
            arrays.slot_nodes[slot] = node
        return node

    def _search(self, task: Any, work: Any, arrays: Any, count: int) -> Any:
        """Search until all utterances have ended, with more room where there is too little; return the arrays then."""
        kernels, fields = self._kernels, self._runs.fields
        while True:
            status = kernels.run(task, kernels.SEARCH)
            if status == kernels.NOT_FINITE:
                raise not_finite()
            if status != kernels.NO_ROOM:
                return arrays
            arrays = self._buffers.more_room(arrays)
            work.rows[:count] = np.arange(count)
            task[fields.ENCODER_ROWS] = 0  # they are projected already

    def _collect(self, task: Any, work: Any, arrays: Any, count: int, size: int) -> Any:
        """Return the tokens of all hypotheses, a row each, and which was carried in before them."""
        runs, now, fields = self._runs, arrays.hypotheses, self._table
        found = np.zeros((count, size), np.int64)
        for u in range(count):
            paths = now.paths[u, : now.live[u]]
            lengths = arrays.memory.ways[u, np.maximum(paths, 0), fields.LENGTH]
            found[u, : len(paths)] = np.where(paths < 0, 0, lengths)
        out = runs.buffers.emitted_tokens(count * size, max(1, int(found.max(initial=0))))
        runs.fields.set_out(task, out)
        work.rows[:count] = np.arange(count)
        self._kernels.run(task, self._kernels.COLLECT)
        return found, arrays.kept[-1], out

    def _state(self, piece: Piece, arrays: Any, slots: Any, found: Any, u: int) -> BeamState:
        """Return where utterance `u` stands."""
        now, spec, before = arrays.hypotheses, self._runs.spec, piece.states[u]
        alive, size = int(now.live[u]), now.scores.shape[1]
        lengths, roots, out = found
        begun = 0 if before is None else before.frames_decoded
        opened = []
        for h in range(alive):
            n, row = int(lengths[u, h]), u * size + h
            part = Hypothesis(
                out.tokens[row, :n].copy(),
                out.frames[row, :n] + np.int32(begun),
                out.durations[row, :n].copy(),
                out.logprobs[row, :n].copy(),
                out.entropies[row, :n].copy(),
            )
            known = Hypothesis.empty() if before is None else before.opened[roots[u, h]]
            opened.append(Hypothesis.concatenate([known, part]))
        settled, rest = settle(Hypothesis.empty() if before is None else before.settled, opened)
        places = arrays.memory.tree[u, now.nodes[u, :alive], self._table.SLOT]
        models = 0 if piece.fusions is None else len(piece.fusions[u].models)
        stop = int(now.stops[u])
        return BeamState(
            scores=now.scores[u, :alive].copy(),
            skips=now.times[u, :alive] - stop,
            repeats=now.repeats[u, :alive].copy(),
            hidden=slots.hidden[places, :, : spec.predictor_hidden],
            cell=slots.cell[places, :, : spec.predictor_hidden],
            projected=slots.projected[places],
            model_states=arrays.model_states[places, :models],
            settled=settled,
            opened=rest,
            frames_decoded=begun + stop,
        )


def refuse_late_masks(fusions: Sequence[Fusion | None] | None) -> None:
    """Refuse masks that hold only once it is decided that there is a token: a beam decides about both at once."""
    if fusions is not None and any(fusion is not None and fusion.after_blank for fusion in fusions):
        raise OptionError("fusions: after_blank", True, "False: a beam search weighs blanks and tokens together")
