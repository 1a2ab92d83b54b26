"""What a beam search carries from one piece of an utterance to the next, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.checks import array, instance
from tdt.decoding.fusing import start_states
from tdt.errors import OptionError
from tdt.stages import Alternative, DecoderState, Hypothesis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.spec import ModelSpec
    from tdt.stages import Float32, Fusion, Int64


@dataclass(frozen=True, slots=True, eq=False)
class BeamState:
    """Where a beam search of one utterance stands, so that it can go on with its next frames: N hypotheses alive.

    Parameters
    ----------
    scores : ndarray [shape=(N,)], float64
        Log-probabilities, best first but for hypotheses that became one.
    skips, repeats : ndarray [shape=(N,)], int64
        Encoder frames of the next piece to pass over; tokens emitted in a row at the frame where the hypothesis stands.
    hidden, cell : ndarray [shape=(N, L, H)], float32
        State of the prediction network after each hypothesis's last token.
    projected : ndarray [shape=(N, J)], float32
        Its output in the joint's space.
    model_states : ndarray [shape=(N, K)], int64
        States of the automata, in the order of the utterance's :class:`~tdt.stages.Fusion`.
    settled : Hypothesis
        Tokens that all hypotheses begin with, at the same frames: they stay.
    opened : tuple of Hypothesis
        The tokens of each after these.
    frames_decoded : int
        Encoder frames consumed so far.
    """

    scores: Any
    skips: Int64
    repeats: Int64
    hidden: Float32
    cell: Float32
    projected: Float32
    model_states: Int64
    settled: Hypothesis
    opened: tuple[Hypothesis, ...]
    frames_decoded: int

    def order(self, *, score_norm: bool) -> list[int]:
        """Return the hypotheses, best first: by score / (tokens + 1), or by score."""
        lengths = np.array([len(self.settled) + len(part) + 1 for part in self.opened])
        keys = self.scores / lengths if score_norm else self.scores
        found: list[int] = np.argsort(-keys, kind="stable").tolist()
        return found

    def ranked(self, *, score_norm: bool) -> tuple[Alternative, ...]:
        """Return the n-best list in that order."""
        return tuple(
            Alternative(float(self.scores[h]), Hypothesis.concatenate([self.settled, self.opened[h]]))
            for h in self.order(score_norm=score_norm)
        )


def settle(settled: Hypothesis, opened: Sequence[Hypothesis]) -> tuple[Hypothesis, tuple[Hypothesis, ...]]:
    """Move what all hypotheses begin with from `opened` to `settled`: tokens, frames and durations."""
    shared = min(len(part) for part in opened)
    first = opened[0]
    for part in opened[1:]:
        same = np.ones(shared, bool)
        for name in ("token_ids", "frames", "durations"):
            same &= getattr(part, name)[:shared] == getattr(first, name)[:shared]
        shared = shared if same.all() else int(same.argmin())
    if shared == 0:
        return settled, tuple(opened)
    return Hypothesis.concatenate([settled, first.part(0, shared)]), tuple(
        part.part(shared, len(part)) for part in opened
    )


def check_states(
    states: Sequence[BeamState | None] | None, batch: int, size: int, spec: ModelSpec, fusions: Sequence[Fusion] | None
) -> list[BeamState | None]:
    """Refuse carried states that do not fit; return one, or None, an utterance.

    Raises
    ------
    OptionError
        Naming what does not fit.
    """
    if states is None:
        return [None] * batch
    if not isinstance(states, (list, tuple)) or len(states) != batch:
        raise OptionError("states", states, f"a list of one, or None, for each of the {batch} utterances")
    for u, state in enumerate(states):
        if state is None:
            continue
        instance("states", state, BeamState, "BeamState or None for each: a greedy state does not fit a beam")
        alive = len(state.scores)
        if alive > size:
            raise OptionError("states", f"a state of {alive} hypotheses", f"at most the beam's {size}")
        shape = (alive, spec.predictor_layers, spec.predictor_hidden)
        if array("states: hidden", state.hidden, "f", "N, L, H").shape != shape or state.cell.shape != shape:
            raise OptionError(
                "states", f"hidden of shape {state.hidden.shape}", f"{shape}: the state of another model?"
            )
        models = 0 if fusions is None else len(fusions[u].models)
        if state.model_states.shape[1] != models:
            given = f"a state that stands in {state.model_states.shape[1]} automata"
            raise OptionError("states", given, f"one of the same {models} phrases and language models")
    return list(states)


def begun(state: DecoderState, fusion: Fusion | None, first: Any, spec: ModelSpec) -> BeamState:
    """Return where a beam search stands that goes on from one hypothesis, or afresh at some frame.

    Parameters
    ----------
    state : DecoderState
        Left by :func:`ended`, or that of a start: no token yet.
    fusion : Fusion or None
        What is added for the utterance.
    first : DecodingState
        What every utterance starts from (:mod:`tdt.kernels.decoder.buffers`), its prediction included.
    spec : ModelSpec

    Raises
    ------
    OptionError
        Where greedy decoding left the state amid an utterance.
    """
    hidden, cell, projected = state.hidden, state.cell, state.projected
    if projected is None:
        if state.label != spec.blank_id:
            raise OptionError("states", "a state of greedy decoding", "one of a beam search: they do not go together")
        width = spec.predictor_hidden
        hidden, cell = first.next_hidden[0, :, :width], first.next_cell[0, :, :width]
        projected = first.projected[0]
    return BeamState(
        scores=np.zeros(1),
        skips=np.array([state.skip], np.int64),
        repeats=np.zeros(1, np.int64),
        hidden=hidden[None],
        cell=cell[None],
        projected=projected[None],
        model_states=np.array(() if fusion is None else start_states(fusion, state), np.int64).reshape(1, -1),
        settled=Hypothesis.empty(),
        opened=(Hypothesis.empty(),),
        frames_decoded=state.frames_decoded,
    )


def ended(state: BeamState, label: int, *, score_norm: bool) -> DecoderState:
    """Return where the best hypothesis stands; `label` is the last token before this piece."""
    best = state.order(score_norm=score_norm)[0]
    tokens = Hypothesis.concatenate([state.settled, state.opened[best]]).token_ids
    return DecoderState(
        label=int(tokens[-1]) if len(tokens) else label,
        hidden=state.hidden[best],
        cell=state.cell[best],
        skip=int(state.skips[best]),
        frames_decoded=state.frames_decoded,
        model_states=tuple(state.model_states[best].tolist()),
        projected=state.projected[best],
    )
