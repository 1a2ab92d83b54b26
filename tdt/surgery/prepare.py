"""All exact rewrites in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tdt.surgery.editing import EditableGraph
from tdt.surgery.folding import drop_identities, fold_constants
from tdt.surgery.lengths import integer_lengths
from tdt.surgery.masks import broadcast_masks, broadcast_pairs, single_masks
from tdt.surgery.pointwise import pointwise_to_matmul
from tdt.surgery.positions import halve_position_table
from tdt.surgery.shapes import copy_batch_axis

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import onnx

ENCODER_OUTPUTS = ("outputs", "encoded_lengths")

_PASSES: tuple[tuple[str, Callable[[EditableGraph], int]], ...] = (
    ("identities dropped", drop_identities),
    ("constants folded", fold_constants),
    ("lengths made integer", integer_lengths),
    ("masks broadcast", broadcast_masks),
    ("masks applied once", single_masks),
    ("masks paired by broadcasting", broadcast_pairs),
    ("reshapes simplified", copy_batch_axis),
)


@dataclass(frozen=True, slots=True)
class SurgeryReport:
    """What :func:`prepare_encoder` did: node counts, and the number of changes by pass."""

    nodes_before: int
    nodes_after: int
    changes: dict[str, int]


def prepare_encoder(
    model: onnx.ModelProto,
    folder: Path | None = None,
    *,
    keep_outputs: Sequence[str] = ENCODER_OUTPUTS,
    in_place: bool = False,
) -> SurgeryReport:
    """Apply every exact rewrite to the encoder `model`, in place.

    Parameters
    ----------
    model : onnx.ModelProto
        An encoder as exported; a graph that lacks a pattern keeps what it has.
    folder : Path, optional
        Where its external weights lie.
    keep_outputs : sequence of str
        Outputs to keep where the graph has them; the others are cut with all that only they need.
    in_place : bool
        Leave external weights in their file, transposed by the graph itself where it wants them so.
    """
    before = len(model.graph.node)
    graph = EditableGraph(model, folder)
    changes = {"outputs cut": _cut_outputs(graph, keep_outputs)}
    for name, change in _PASSES:
        changes[name] = change(graph)
    changes["pointwise convolutions as matrix products"] = pointwise_to_matmul(graph, in_place=in_place)
    changes["position tables halved"] = halve_position_table(graph)
    graph.finish()
    return SurgeryReport(before, len(model.graph.node), changes)


def _cut_outputs(graph: EditableGraph, keep: Sequence[str]) -> int:
    names = [value.name for value in graph.graph.output]
    wanted = [name for name in names if name in keep]
    if not wanted or len(wanted) == len(names):
        return 0
    for index in reversed(range(len(names))):
        if names[index] not in keep:
            del graph.graph.output[index]
    graph.reindex()
    return len(names) - len(wanted)
