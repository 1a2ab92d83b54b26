"""What the native engine adds to the logits: from an utterance's :class:`~tdt.stages.Fusion` to the kernel's arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.kernels.decoder.fused_buffers import Fused
    from tdt.stages import DecoderState, Fusion


def begin_fusion(
    fusions: Sequence[Fusion] | None, carried: Sequence[DecoderState | None], width: int, capacity: int
) -> Fused | None:
    """Return the arrays of a run over utterances that add something, rows of `width` floats; None where none does."""
    if fusions is None:
        return None
    from tdt.kernels.decoder.fused_buffers import Addition, fused_state

    additions = [
        Addition(fusion.models, start_states(fusion, state), fusion.allowed, fusion.after_blank)
        for fusion, state in zip(fusions, carried, strict=True)
    ]
    return fused_state(additions, width, capacity)


def start_states(fusion: Fusion, state: DecoderState | None) -> tuple[int, ...]:
    """Return where an utterance's automata stand: as carried, or at their starts."""
    if state is not None and state.model_states:
        return state.model_states
    return tuple(model.start for model, _ in fusion.models)


def model_states(fused: Fused | None, fusions: Sequence[Fusion] | None, u: int) -> tuple[int, ...]:
    """Return where utterance `u`'s automata stand after a run."""
    if fused is None or fusions is None:
        return ()
    return tuple(int(place) for place in fused.states[u, : len(fusions[u].models)])


def token_columns(fused: Fused | None, fusions: Sequence[Fusion] | None, u: int, count: int) -> dict[str, Any]:
    """Return what a :class:`~tdt.stages.Hypothesis` says of the additions, for the first `count` tokens."""
    if fused is None or fusions is None:
        return {}
    changed = fused.changed[u, :count] != 0
    return {"top_logprobs": fused.tops[u, :count].copy(), "boosted": changed if fusions[u].models else None}


def point_to_fusion(fields: Any, fused: Fused | None, task: Any) -> Any:
    """Point a task to what is added to the logits, if anything; return what is to be kept."""
    if fused is None:
        return None
    from tdt.kernels.decoder.fused_buffers import scratch

    row = scratch(fused)
    fields.set_fusion(task, fused, row)
    return row
