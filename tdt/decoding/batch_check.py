"""What every decoder refuses: a batch, or carried states, that do not fit the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from tdt.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.spec import ModelSpec
    from tdt.stages import DecoderState, Encoded


def check_batch(
    encoded: Encoded, states: Sequence[DecoderState | None] | None, spec: ModelSpec
) -> list[DecoderState | None]:
    """Refuse a batch that does not fit the model; return the carried states, one (or None) an utterance.

    Raises
    ------
    OptionError
        Naming the field, what it has, and what was expected.
    """
    lengths, frames = encoded.lengths, cast("Any", encoded.frames)
    if frames is None and encoded.projected is None:
        raise OptionError("encoded.frames", None, "the encoder's output, or `projected` beside it")
    shape = encoded.projected.shape if frames is None else frames.shape
    if len(shape) != 3 or (frames is not None and shape[2] != spec.encoder_dim):
        raise OptionError("encoded.frames", f"shape {tuple(shape)}", f"[B, T', {spec.encoder_dim}], time-major float32")
    if lengths.shape != (shape[0],) or lengths.dtype.kind not in "iu":
        given = f"{lengths.dtype} of shape {tuple(lengths.shape)}"
        raise OptionError("encoded.lengths", given, f"{shape[0]} integers, one an utterance")
    if shape[0] and not 0 <= int(lengths.min()) <= int(lengths.max()) <= shape[1]:
        raise OptionError(
            "encoded.lengths", lengths.tolist(), f"numbers from 0 to the {shape[1]} frames that are there"
        )
    if states is None:
        return [None] * shape[0]
    if len(states) != shape[0]:
        raise OptionError("states", f"{len(states)} states", f"one, or None, for each of the {shape[0]} utterances")
    expected = (spec.predictor_layers, spec.predictor_hidden)
    for state in states:
        if state is not None and not state.hidden.shape == state.cell.shape == expected:
            given = f"a state of shapes {state.hidden.shape} and {state.cell.shape}"
            raise OptionError("states", given, f"hidden and cell of shape {expected}: the state of another model?")
    return list(states)
