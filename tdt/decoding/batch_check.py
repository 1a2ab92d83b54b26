"""What every decoder refuses: a batch, or carried states, that do not fit the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdt.checks import array, instance, whole_number
from tdt.errors import OptionError
from tdt.stages import DecoderState, Encoded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.spec import ModelSpec

# Frames are counted in 32 bits.
_MOST_FRAMES = (1 << 31) - 1


def check_batch(
    encoded: Encoded, states: Sequence[DecoderState | None] | None, spec: ModelSpec
) -> list[DecoderState | None]:
    """Refuse a batch that does not fit the model; return the carried states, one (or None) an utterance.

    Raises
    ------
    OptionError
        Naming the field, what it has, and what was expected.
    """
    instance("encoded", encoded, Encoded)
    frames: Any = encoded.frames  # a device encoder may leave its frames out
    projected = encoded.projected
    if frames is None and projected is None:
        raise OptionError("encoded.frames", None, "the encoder's output, or `projected` beside it")
    lengths = array("encoded.lengths", encoded.lengths, "iu", "B")
    if projected is not None:
        shape = array("encoded.projected", projected, "f", "B, T', J", device=True).shape
    if frames is not None:
        shape = array("encoded.frames", frames, "f", f"B, T', {spec.encoder_dim}", device=True).shape
        if shape[2] != spec.encoder_dim:
            expected = f"[B, T', {spec.encoder_dim}], time-major float32"
            raise OptionError("encoded.frames", f"shape {tuple(shape)}", expected)
    if len(lengths) != shape[0]:
        raise OptionError("encoded.lengths", f"{len(lengths)} entries", f"{shape[0]} integers, one an utterance")
    if shape[0] and not 0 <= int(lengths.min()) <= int(lengths.max()) <= shape[1]:
        raise OptionError(
            "encoded.lengths", lengths.tolist(), f"numbers from 0 to the {shape[1]} frames that are there"
        )
    if states is None:
        return [None] * shape[0]
    if not isinstance(states, (list, tuple)) or len(states) != shape[0]:
        raise OptionError("states", states, f"a list of one, or None, for each of the {shape[0]} utterances")
    for state in states:
        if state is not None:
            _check_state(instance("states", state, DecoderState, "DecoderState or None for each"), spec)
    return list(states)


def _check_state(state: DecoderState, spec: ModelSpec) -> None:
    whole_number("states: label", state.label, 0, spec.blank_id)
    whole_number("states: skip", state.skip, 0, _MOST_FRAMES)
    whole_number("states: frames_decoded", state.frames_decoded, 0, _MOST_FRAMES)
    expected = (spec.predictor_layers, spec.predictor_hidden)
    hidden, cell = (array(f"states: {name}", getattr(state, name), "f", "L, H") for name in ("hidden", "cell"))
    if not hidden.shape == cell.shape == expected:
        given = f"a state of shapes {hidden.shape} and {cell.shape}"
        raise OptionError("states", given, f"hidden and cell of shape {expected}: the state of another model?")
