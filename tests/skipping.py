"""A recogniser that skips speech where it is told to, as if the joint's blank were certain there."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.longform.second_look import SecondLook
from tdt.longform.stitching import afresh
from tdt.stages import DecoderState, Encoded, Hypothesis
from tdt.timeline import NULL, Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import tdt
    from tdt.protocols import Engine
    from tdt.spec import ModelSpec


class SkippingEngine:
    """Emits blanks, which change no state, over frames of the recording.

    Parameters
    ----------
    engine : Engine
    spec : ModelSpec
    spans : sequence of (int, int)
        First and last frame (exclusive) of each stretch, in order.
    again : bool
        Whether a second look skips them, too.
    """

    def __init__(self, engine: Engine, spec: ModelSpec, spans: Sequence[tuple[int, int]], *, again: bool) -> None:
        self._engine, self._spec, self.spans, self._again = engine, spec, spans, again
        self.looks = 0
        self.looking = False

    def decode(
        self, encoded: Encoded, states: Sequence[DecoderState | None] | None = None, timeline: Recorder = NULL
    ) -> tuple[list[Hypothesis], list[DecoderState]]:
        self.looks += self.looking
        if self.looking and not self._again:
            return self._engine.decode(encoded, states, timeline)
        rows = [self._row(encoded, row, state) for row, state in enumerate(states or [None] * len(encoded.lengths))]
        return [tokens for tokens, _ in rows], [state for _, state in rows]

    def close(self) -> None:
        self._engine.close()

    def _row(self, encoded: Encoded, row: int, state: DecoderState | None) -> tuple[Hypothesis, DecoderState]:
        state = state or afresh(self._spec, 0)
        begin, end = state.frames_decoded, state.frames_decoded + int(encoded.lengths[row])
        parts, at = [], begin
        for first, last in [*self.spans, (end, end)]:
            first, last = min(max(first, at), end), min(max(last, at), end)  # noqa: PLW2901
            if first > at:
                columns = [None if one is None else one[row : row + 1, at - begin : first - begin]
                           for one in (encoded.frames, encoded.projected)]  # fmt: skip
                piece = Encoded(columns[0], np.array([first - at]), columns[1])  # type: ignore[arg-type]
                (tokens,), (state,) = self._engine.decode(piece, [state])
                parts.append(tokens)
            state = replace(state, frames_decoded=last, skip=max(0, state.skip - (last - first)))
            at = last
        return Hypothesis.concatenate(parts), state


@contextmanager
def skipping(asr: tdt.Recognizer, spans: Sequence[tuple[int, int]], *, again: bool = False) -> Iterator[SkippingEngine]:
    """Have a recogniser skip frames of what it hears; in a second look only where `again` says so."""
    stages, look = asr._stages, SecondLook._decoded
    engine = SkippingEngine(stages.engine, asr.spec, spans, again=again)

    def looking(*given: Any) -> Any:
        engine.looking = True
        try:
            return look(*given)
        finally:
            engine.looking = False

    asr._stages = replace(stages, engine=engine)
    SecondLook._decoded = looking  # type: ignore[method-assign]
    try:
        yield engine
    finally:
        asr._stages = stages
        SecondLook._decoded = look  # type: ignore[method-assign]
