"""What the native engine writes down of each step where that is asked for: from the kernel's arrays to hypotheses."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tdt.steps import Steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.kernels.decoder.step_measures import Measured
    from tdt.stages import DecoderState, Hypothesis, Int64


def begin_steps(lengths: Int64, capacity: int) -> Measured:
    """Return the arrays of a run over utterances of these frames and of at most `capacity` tokens."""
    from tdt.kernels.decoder.step_measures import step_measures

    return step_measures(len(lengths), int(lengths.max(initial=0)), capacity)


def with_steps(
    hypotheses: Sequence[Hypothesis], carried: Sequence[DecoderState | None], lengths: Int64, measured: Measured
) -> list[Hypothesis]:
    """Return the hypotheses of a run with its steps; frames count from the start of each utterance."""
    found = []
    for u, (hypothesis, start) in enumerate(zip(hypotheses, carried, strict=True)):
        rows = measured.blanks[u, : lengths[u]]
        blanks = np.flatnonzero(~np.isnan(rows[:, 0]))
        before = 0 if start is None else start.frames_decoded
        steps = Steps(measured.durations[u, : len(hypothesis)].copy(), (blanks + before).astype(np.int32), rows[blanks])
        found.append(replace(hypothesis, steps=steps))
    return found
