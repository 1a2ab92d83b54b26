"""What passes between the stages: features, encoder output, hypotheses, carried decoder state.

These are the types that people embed. Arrays are NumPy arrays on the host unless a device was asked for; every array
has a length twin; times are counted in frames (seconds appear only in :mod:`tdt.text.transcript`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.steps import Steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tdt.kernels.fusion.automaton import Automaton

    Float32 = npt.NDArray[np.float32]
    Int32 = npt.NDArray[np.int32]
    Int64 = npt.NDArray[np.int64]


def in_rows(parts: Sequence[Float32]) -> Float32:
    """Return arrays [T, D] of unlike lengths as rows of one [B, longest T, D], at least one long, zeros behind."""
    rows = np.zeros((len(parts), max(1, *map(len, parts)), parts[0].shape[1]), np.float32)
    for row, part in zip(rows, parts, strict=True):
        row[: len(part)] = part
    return rows


@dataclass(frozen=True, slots=True)
class Features:
    """Normalised log-mel features of a batch.

    Parameters
    ----------
    frames : ndarray [shape=(B, n_mels, T)], float32
        Frames at and beyond an utterance's length are zero.
    lengths : ndarray [shape=(B,)], int64
        Valid mel frames of each utterance.
    """

    frames: Float32
    lengths: Int64


@dataclass(frozen=True, slots=True)
class Encoded:
    """Encoder output of a batch, time-major so that each frame is contiguous.

    Parameters
    ----------
    frames : ndarray [shape=(B, T', D)], float32
        The encoder's own output; frames at and beyond an utterance's length carry no meaning.
    lengths : ndarray [shape=(B,)], int64
        Valid encoder frames of each utterance.
    projected : ndarray [shape=(B, T', J)], float32, optional
        `frames` through the joint's encoder projection, where the encoder graph computes it already.
    """

    frames: Float32
    lengths: Int64
    projected: Any = None


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """Greedy transducer output of one utterance: parallel arrays, one entry an emitted token.

    Parameters
    ----------
    token_ids : ndarray [shape=(N,)], int32
        Emitted tokens, blanks left out.
    frames : ndarray [shape=(N,)], int32
        Encoder frame at which each token was emitted, before the clock advanced.
    durations : ndarray [shape=(N,)], int32
        Encoder frames by which the clock advanced, looked up in the model's duration table.
    logprobs : ndarray [shape=(N,)], float32
        Log-softmax of each token over the token slice: blank included, durations not.
    entropy_confidences : ndarray [shape=(N,)], float32, optional
        NeMo's default token confidence (Tsallis entropy, alpha 0.33, exponential normalisation), in 0..1.
    top_logprobs : ndarray [shape=(N,)], float32, optional
        Log-softmax of the token that would have been emitted without phrases, language model and mask, where there
        were any: what NeMo's confidences are of. Without them it is `logprobs`.
    boosted : ndarray [shape=(N,)], bool, optional
        Where phrases or a language model chose another token than would have been emitted without; None without them.
    steps : Steps, optional
        Measures of blanks and durations, where the confidences count them (:class:`tdt.Confidence`).
    alternatives : tuple of Alternative
        With a beam, all hypotheses that are left, best first, this one among them; else empty.
    """

    token_ids: Int32
    frames: Int32
    durations: Int32
    logprobs: Float32
    entropy_confidences: Float32 | None = None
    top_logprobs: Float32 | None = None
    boosted: Any = None
    steps: Steps | None = None
    alternatives: tuple[Alternative, ...] = ()

    def __len__(self) -> int:
        return len(self.token_ids)

    def part(self, first: int, last: int) -> Hypothesis:
        """Return tokens `first` to `last` (exclusive), without alternatives."""
        columns: list[Any] = [None if values is None else values[first:last] for values in self._columns()]
        steps = None if self.steps is None else self.steps.part(self.frames, first, last)
        return replace(Hypothesis(*columns), steps=steps)

    def _columns(self) -> list[Any]:
        """Return the parallel arrays, in the order of the fields."""
        return [getattr(self, column.name) for column in fields(self) if column.name not in {"alternatives", "steps"}]

    @staticmethod
    def empty() -> Hypothesis:
        """Return a hypothesis without tokens."""
        return Hypothesis(
            np.zeros(0, np.int32),
            np.zeros(0, np.int32),
            np.zeros(0, np.int32),
            np.zeros(0, np.float32),
            np.zeros(0, np.float32),
        )

    @staticmethod
    def concatenate(hypotheses: Sequence[Hypothesis]) -> Hypothesis:
        """Return the tokens of all, in order; of optional arrays those that all have, alternatives of one alone."""
        spoken = [hypothesis for hypothesis in hypotheses if len(hypothesis)] or [Hypothesis.empty()]
        stepped = [hypothesis for hypothesis in hypotheses if hypothesis.steps is not None]
        if len(spoken) == 1 and not stepped:
            return spoken[0]
        columns = zip(*(hypothesis._columns() for hypothesis in spoken), strict=True)
        joined: list[Any] = [
            None if any(part is None for part in parts) else np.concatenate(parts) for parts in columns
        ]
        return replace(Hypothesis(*joined), steps=_joined_steps(spoken, stepped))


def _joined_steps(spoken: Sequence[Hypothesis], stepped: Sequence[Hypothesis]) -> Steps | None:
    """Return the steps of all; None where a part with tokens has none."""
    steps = [hypothesis.steps for hypothesis in stepped if hypothesis.steps is not None]
    return Steps.joined(steps) if steps and all(one.steps is not None for one in spoken if len(one)) else None


@dataclass(frozen=True, slots=True)
class Alternative:
    """One of the n best of an utterance.

    Parameters
    ----------
    score : float
        Log-probability of the hypothesis: of its tokens, blanks and durations, with what was added to them.
    hypothesis : Hypothesis
        All of its tokens, from the start of the utterance.
    """

    score: float
    hypothesis: Hypothesis


@dataclass(frozen=True, slots=True)
class DecoderState:
    """Where greedy decoding of one utterance stands, so that it can go on with its next frames.

    Independent of the engine: the prediction network's state *before* `label` was fed, and the label itself
    (NeMo label looping, point 8: the last emitted label, the blank before any).

    Parameters
    ----------
    label : int
        Last emitted token, or the blank.
    hidden, cell : ndarray [shape=(L, H)], float32
        LSTM state before `label` was fed to the prediction network.
    skip : int
        Encoder frames of the next piece to pass over before the first evaluation.
    frames_decoded : int
        Encoder frames consumed so far; added to the frames of tokens emitted later.
    model_states : tuple of int
        State of each automaton of the utterance's :class:`Fusion`, in its order; empty for their starts.
    projected : ndarray [shape=(J,)], float32, optional
        Where a beam search left the state: what the prediction network says after `label`, in the joint's space;
        `hidden` and `cell` are those after it, too.
    """

    label: int
    hidden: Float32
    cell: Float32
    skip: int = 0
    frames_decoded: int = 0
    model_states: tuple[int, ...] = ()
    projected: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class Fusion:
    """What is known of an utterance beside its sound, as the decoder takes it; made of phrases, models and masks.

    Parameters
    ----------
    models : tuple of (Automaton, float)
        Automata over the model's pieces with their weights (NeMo's alphas), in the order in which they are added.
    allowed : ndarray [shape=(V,)], bool, optional
        Pieces that may be emitted; all by default.
    after_blank : bool
        Whether it is decided with all pieces if there is a token at all; before, by default.
    """

    models: tuple[tuple[Automaton, float], ...] = ()
    allowed: Any = None
    after_blank: bool = False
