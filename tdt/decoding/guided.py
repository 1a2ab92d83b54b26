"""An engine with what a call adds to the logits: phrases, language model, masks, beams; itself an engine."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tdt.decoding.beam_states import ended
from tdt.errors import OptionError
from tdt.fusion import repeats
from tdt.timeline import NULL, Recorder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.decoding.beam_states import BeamState
    from tdt.fusion import Beam, FusionPlan
    from tdt.protocols import Engine
    from tdt.spec import ModelSpec
    from tdt.stages import DecoderState, Encoded, Fusion, Hypothesis

_log = logging.getLogger("tdt")


class GuidedEngine:
    """Decodes the clips of a call by its plan.

    Parameters
    ----------
    engine : Engine
        One that takes fusions: the native engine.
    plan : FusionPlan
    spec : ModelSpec
    places : sequence of int, optional
        Place in the call of each utterance of the batches that come; one for all where there is only one. Without, the
        utterances are the clips of the call in order.

    Raises
    ------
    OptionError
        Where the engine takes none; phrases, models and masks are never passed over in silence.
    """

    def __init__(self, engine: Engine, plan: FusionPlan, spec: ModelSpec, places: Sequence[int] | None = None) -> None:
        if not getattr(engine, "takes_fusions", False):
            raise OptionError(
                "phrases, lm, beam, script or allowed",
                f"decoding by {type(engine).__name__}",
                'the native engine, which decodes on the CPU also beside an encoder on a card: decoder="native"',
            )
        self.engine: Any = engine
        self.plan, self.spec, self.places = plan, spec, places

    def at(self, places: Sequence[int]) -> GuidedEngine:
        """Return the engine for the clips at these places of the call."""
        return GuidedEngine(self.engine, self.plan, self.spec, places)

    def decode(
        self, encoded: Encoded, states: Sequence[Any] | None = None, timeline: Recorder = NULL
    ) -> tuple[list[Hypothesis], list[Any]]:
        """Decode a batch; see :class:`tdt.protocols.Engine`."""
        if self.plan.beam is not None:
            return self._best(encoded, states, timeline, self.plan.beam)
        places = self._places(len(encoded.lengths))
        hypotheses, after = self.engine.decode(encoded, states, timeline, self._fusions(places))
        return self._told(places, hypotheses), after

    def decode_beams(
        self, encoded: Encoded, states: Sequence[Any] | None, timeline: Recorder
    ) -> tuple[list[Hypothesis], list[BeamState]]:
        """Decode a batch with the plan's beam; the states carry all hypotheses, and the answers all tokens so far."""
        places = self._places(len(encoded.lengths))
        lists, after = self.engine.decode_beam(encoded, states, self._fusions(places), self.plan.beam, timeline)
        return self._told(places, [replace(listed[0].hypothesis, alternatives=listed) for listed in lists]), after

    def _best(
        self, encoded: Encoded, states: Sequence[DecoderState | None] | None, timeline: Recorder, beam: Beam
    ) -> tuple[list[Hypothesis], list[DecoderState]]:
        """Decode a batch whose pieces go on from the best hypothesis alone: what was given out stays.

        So recordings that are cut, and live streams, need no other state than in greedy decoding.
        """
        hypotheses, after = self.decode_beams(encoded, states, timeline)
        before = states or [None] * len(hypotheses)
        labels = [self.spec.blank_id if state is None else state.label for state in before]
        return hypotheses, [
            ended(state, label, score_norm=beam.score_norm) for state, label in zip(after, labels, strict=True)
        ]

    def close(self) -> None:
        """Release what the engine holds."""
        self.engine.close()

    def _places(self, batch: int) -> list[int]:
        """Return which entry of the plan is that of each utterance."""
        if self.places is None:
            self.plan.check_count(batch)
            clips: Sequence[int] = range(batch)
        else:
            clips = [self.places[0]] * batch if len(self.places) == 1 else self.places
        return [self.plan.place(clip) for clip in clips]

    def _fusions(self, places: Sequence[int]) -> list[Fusion | None]:
        return [self.plan.fusions[place] for place in places]

    def _told(self, places: Sequence[int], hypotheses: list[Hypothesis]) -> list[Hypothesis]:
        """Log what is a sign of too much weight: a phrase that comes more than eight times in a row."""
        for place, hypothesis in zip(places, hypotheses, strict=True):
            for sequences in self.plan.sequences[place]:
                for repeat in repeats(hypothesis.token_ids.tolist(), sequences):
                    _log.warning(
                        "the phrase %r stands %d times in a row: its weight may be too high",
                        repeat.phrase,
                        repeat.times,
                    )
        return hypotheses
