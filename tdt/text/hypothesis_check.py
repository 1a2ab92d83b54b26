"""What a transcript can be made of: hypotheses made by hand are looked at before they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.checks import array, instance
from tdt.errors import OptionError
from tdt.stages import Alternative, Hypothesis
from tdt.steps import Steps

if TYPE_CHECKING:
    from tdt.spec import ModelSpec


def check_hypothesis(hypothesis: object, spec: ModelSpec) -> None:
    """Refuse what is no hypothesis of a model.

    Raises
    ------
    OptionError
        Naming the field, what it has, and what was expected.
    """
    found = instance("hypothesis", hypothesis, Hypothesis)
    fields = {"token_ids": "iu", "frames": "iu", "durations": "iu", "logprobs": "f"}
    optional = {"entropy_confidences": "f", "top_logprobs": "f", "boosted": "b"}
    fields |= {name: kinds for name, kinds in optional.items() if getattr(found, name) is not None}
    for name, kinds in fields.items():
        values = array(f"hypothesis.{name}", getattr(found, name), kinds, "N")
        if len(values) != len(found.token_ids):
            expected = f"as many as token_ids, {len(found.token_ids)}"
            raise OptionError(f"hypothesis.{name}", f"{len(values)} entries", expected)
    for other in instance("hypothesis.alternatives", found.alternatives, tuple):
        instance("hypothesis.alternatives", other, Alternative)
    if found.steps is not None:
        _check_steps(instance("hypothesis.steps", found.steps, Steps), len(found.token_ids))
    for name, most in (("token_ids", len(spec.pieces) - 1), ("frames", 2**31 - 1), ("durations", 2**31 - 1)):
        values = getattr(found, name)
        if len(values) and not 0 <= int(values.min()) <= int(values.max()) <= most:
            given = f"{int(values.min())} to {int(values.max())}"
            raise OptionError(f"hypothesis.{name}", given, f"numbers from 0 to {most}")


def _check_steps(steps: Steps, tokens: int) -> None:
    durations = array("hypothesis.steps.durations", steps.durations, "f", "N, 2")
    frames = array("hypothesis.steps.blank_frames", steps.blank_frames, "iu", "M")
    blanks = array("hypothesis.steps.blanks", steps.blanks, "f", "M, 4")
    if durations.shape != (tokens, 2):
        raise OptionError("hypothesis.steps.durations", f"shape {durations.shape}", f"shape ({tokens}, 2)")
    if blanks.shape != (len(frames), 4):
        raise OptionError("hypothesis.steps.blanks", f"shape {blanks.shape}", f"shape ({len(frames)}, 4)")
