"""What every decoder refuses: a batch, or carried states, that do not fit the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdt.checks import array, instance, number, whole_number
from tdt.errors import OptionError
from tdt.stages import DecoderState, Encoded, Fusion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.spec import ModelSpec

# Frames are counted in 32 bits.
_MOST_FRAMES = (1 << 31) - 1


def check_batch(
    encoded: Encoded,
    states: Sequence[DecoderState | None] | None,
    spec: ModelSpec,
    joint_width: int,
    *,
    automata: bool = False,
) -> list[DecoderState | None]:
    """Refuse a batch that does not fit the model; return the carried states, one (or None) an utterance.

    `automata`: whether the engine knows phrases and language models, whose states are then checked elsewhere.

    Raises
    ------
    OptionError
        Naming the field, what it has, and what was expected.
    """
    batch, frames = _extent(encoded, spec.encoder_dim, joint_width)
    lengths = array("encoded.lengths", encoded.lengths, "iu", "B")
    if len(lengths) != batch:
        raise OptionError("encoded.lengths", f"{len(lengths)} entries", f"{batch} integers, one an utterance")
    if batch and not 0 <= int(lengths.min()) <= int(lengths.max()) <= frames:
        raise OptionError("encoded.lengths", lengths.tolist(), f"numbers from 0 to the {frames} frames that are there")
    if states is None:
        return [None] * batch
    if not isinstance(states, (list, tuple)) or len(states) != batch:
        raise OptionError("states", states, f"a list of one, or None, for each of the {batch} utterances")
    for state in states:
        if state is not None:
            _check_state(instance("states", state, DecoderState, "DecoderState or None for each"), spec)
            if state.model_states and not automata:
                raise OptionError("states", "a state that stands in automata", "one of a decoder without them")
    return list(states)


def _extent(encoded: Encoded, encoder_dim: int, joint_width: int) -> tuple[int, int]:
    """Return B and T' of a batch."""
    instance("encoded", encoded, Encoded)
    frames: Any = encoded.frames  # a device encoder may leave its frames out
    projected = encoded.projected
    if frames is None and projected is None:
        raise OptionError("encoded.frames", None, "the encoder's output, or `projected` beside it")
    shapes = []
    for name, given, axis, width in (("frames", frames, "D", encoder_dim), ("projected", projected, "J", joint_width)):
        if given is not None:
            shape = tuple(array(f"encoded.{name}", given, "f", f"B, T', {axis}", device=True).shape)
            shapes.append(shape[:2])
            if shape[2] != width or shape[:2] != shapes[0]:
                extent = "B, T'" if len(shapes) == 1 else f"{shapes[0][0]}, {shapes[0][1]}"
                raise OptionError(f"encoded.{name}", f"shape {shape}", f"[{extent}, {width}], time-major float32")
    return shapes[0]


def _check_state(state: DecoderState, spec: ModelSpec) -> None:
    if state.projected is not None:
        raise OptionError("states", "a state of a beam search", "one of greedy decoding: they do not go together")
    whole_number("states: label", state.label, 0, spec.blank_id)
    whole_number("states: skip", state.skip, 0, _MOST_FRAMES)
    whole_number("states: frames_decoded", state.frames_decoded, 0, _MOST_FRAMES)
    for place in instance("states: model_states", state.model_states, tuple):
        whole_number("states: model_states", place, 0, _MOST_FRAMES)
    expected = (spec.predictor_layers, spec.predictor_hidden)
    hidden, cell = (array(f"states: {name}", getattr(state, name), "f", "L, H") for name in ("hidden", "cell"))
    if not hidden.shape == cell.shape == expected:
        given = f"a state of shapes {hidden.shape} and {cell.shape}"
        raise OptionError("states", given, f"hidden and cell of shape {expected}: the state of another model?")


def check_fusions(
    fusions: Sequence[Fusion | None] | None, states: Sequence[DecoderState | None], pieces: int
) -> list[Fusion] | None:
    """Refuse what cannot be added to the logits of `pieces` pieces; return one an utterance, None where nothing is.

    Raises
    ------
    OptionError
        Naming what does not fit.
    """
    if fusions is None or all(fusion is None for fusion in fusions):
        if any(state is not None and state.model_states for state in states):
            raise OptionError("states", "a state that stands in automata", "the same phrases and language models again")
        return None
    if len(fusions) != len(states):
        raise OptionError("fusions", f"{len(fusions)} entries", f"one, or None, for each of {len(states)} utterances")
    checked = [Fusion() if fusion is None else instance("fusions", fusion, Fusion) for fusion in fusions]
    for fusion, state in zip(checked, states, strict=True):
        carried = () if state is None else state.model_states
        if carried and len(carried) != len(fusion.models):
            given = f"a state that stands in {len(carried)} automata"
            raise OptionError("states", given, f"one of the same {len(fusion.models)} phrases and language models")
        for place, (model, weight) in enumerate(fusion.models):
            number("fusions: weight", weight, -1e6, 1e6)
            if len(model.root_targets) != pieces:
                raise OptionError("fusions", f"an automaton over {len(model.root_targets)} pieces", f"{pieces} pieces")
            if carried:
                whole_number("states: model_states", carried[place], 0, len(model.backoffs) - 1)
        allowed = fusion.allowed
        if allowed is not None and array("fusions: allowed", allowed, "b", "V").shape != (pieces,):
            raise OptionError("fusions: allowed", f"shape {allowed.shape}", f"[{pieces}], one for each piece")
    return checked
