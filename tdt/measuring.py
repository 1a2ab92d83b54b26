"""What confidences ask of the decoder: who counts blanks and durations needs an engine that writes them down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tdt.errors import OptionError
from tdt.text import confidence_of

if TYPE_CHECKING:
    from tdt.text import Confidence, ConfidenceLike


Decoder = Literal["auto", "native", "onnx"]


def measured(confidence: ConfidenceLike, decoder: Decoder) -> tuple[Confidence, Decoder]:
    """Return the measure, and the engine that gives what it counts: for blanks and durations the native one.

    Raises
    ------
    OptionError
        Where it is no measure, or another engine was asked for.
    """
    measure = confidence_of(confidence)
    if not measure.needs_steps:
        return measure, decoder
    if decoder not in {"auto", "native"}:
        raise OptionError("decoder", decoder, '"auto" or "native" with confidences that count blanks or durations')
    return measure, "native"


def check_beam(confidence: ConfidenceLike, beam: object) -> None:
    """Refuse blanks and durations with a beam: the steps of its hypotheses are not those of one path.

    Raises
    ------
    OptionError
    """
    if beam is not None and confidence_of(confidence).needs_steps:
        raise OptionError("beam", beam, "none (greedy) with confidences that count blanks or durations")
