"""Attention with fewer passes over its scores: the same numbers, bit by bit, in the rows of frames that count.

Scores have B x heads x T x T numbers, those by relative position twice as many, and each operator of an export that
only masks, pads or turns them reads and writes all of that again:

* Masks: a large negative number is written over the scores of frames that do not count, and zeros over their
  probabilities once more after the softmax; ONNX Runtime's Where takes three passes for either. So low a number leaves
  a probability of exactly zero, and the second changes nothing in rows that count. The first becomes the addition of a
  bias that all layers share, zero where a frame counts. (Rows of padding, which nothing reads, get other numbers.)
* Relative positions: row i of ``[T, 2 T - 1]`` wants its columns from T - 1 - i on. NeMo pads by a column, reads the
  numbers as ``[2 T, T]`` and drops the first row. Without padding they are rows of ``2 T - 2`` from number T - 1 on.
* Keys are moved to their heads and turned at once, number by number; in two steps, the first moves whole rows, and the
  second is part of the product that reads them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tdt.surgery.folding import constant_behind
from tdt.surgery.shapes import Axis, dims_of

if TYPE_CHECKING:
    import onnx

    from tdt.surgery.editing import EditableGraph

# exp of this is zero in float32 whatever is added to it: scores of attention stay below a hundred or so.
LOW = -1000.0
_BEFORE_LAST = [0, 0, 0, 1, 0, 0, 0, 0]  # amounts of Pad: a column before the others
_TO_HEADS_TURNED, _TO_HEADS, _TURNED = [0, 2, 3, 1], [0, 2, 1, 3], [0, 1, 3, 2]


def simplify_attention(graph: EditableGraph) -> int:
    """Take the passes out that change nothing, in place; return how many patterns were found.

    Parameters
    ----------
    graph : EditableGraph
        In float32, or Q/DQ around products. What lacks a pattern stays as it is.
    """
    found = _add_masks(graph) + _shift_unpadded(graph) + _turn_in_two(graph)
    if found:
        graph.finish()
    return found


# --- masks ------------------------------------------------------------------------------------------------------------


def _add_masks(graph: EditableGraph) -> int:
    biases: dict[tuple[object, ...], str] = {}
    changed = 0
    for softmax in [node for node in graph.graph.node if node.op_type == "Softmax"]:
        masked = _only(graph, softmax.input[0], "Where")
        low = None if masked is None else graph.scalar(masked.input[1])
        shares = softmax.output[0]
        readers = [] if shares in graph.output_names else graph.consumers.get(shares, [])
        if masked is None or low is None or low > LOW or len(readers) != 1 or not _clears(graph, readers[0], masked):
            continue
        key = (*_mask_source(graph, masked.input[0]), low)
        if key not in biases:
            zero = graph.add_constant("attention/counts", np.asarray(0, np.float32))
            biases[key] = graph.add("Where", [masked.input[0], masked.input[1], zero], "attention/bias")
        softmax.input[0] = graph.add("Add", [masked.input[2], biases[key]], f"{masked.output[0]}/added")
        graph.replace_uses(readers[0].output[0], shares)
        changed += 1
    return changed


def _only(graph: EditableGraph, name: str, kind: str) -> onnx.NodeProto | None:
    """Return the node of a kind that makes a value for one reader alone."""
    made = graph.producers.get(name)
    alone = len(graph.consumers.get(name, [])) == 1 and name not in graph.output_names
    return made if made is not None and made.op_type == kind and alone else None


def _clears(graph: EditableGraph, node: onnx.NodeProto, masked: onnx.NodeProto) -> bool:
    """Whether a node writes zeros where `masked` wrote the low number, and keeps the rest."""
    if node.op_type != "Where" or node.output[0] in graph.output_names or graph.scalar(node.input[1]) != 0:
        return False
    return _mask_source(graph, node.input[0]) == _mask_source(graph, masked.input[0])


def _mask_source(graph: EditableGraph, name: str) -> tuple[object, ...]:
    """Return what tells equal masks: each Where has its own Cast, each layer puts an axis into the same one anew."""
    steps: list[object] = []
    node = graph.producers.get(name)
    while node is not None and node.op_type in ("Cast", "Unsqueeze"):
        axes = graph.constant(node.input[1]) if len(node.input) > 1 else None
        if node.op_type == "Unsqueeze" and axes is None:
            break
        steps += [node.attribute[0].i] if axes is None else axes.ravel().tolist()
        name = node.input[0]
        node = graph.producers.get(name)
    return (name, *steps)


# --- relative positions -----------------------------------------------------------------------------------------------


def _shift_unpadded(graph: EditableGraph) -> int:
    cut: tuple[str, ...] = ()
    changed = 0
    for pad in [node for node in graph.graph.node if node.op_type == "Pad"]:
        last = _end_of_shift(graph, pad)
        if last is None:
            continue
        scores = pad.input[0]
        cut = cut or _cut(graph, scores)
        start, end, axis, flat, rows = cut
        numbers = graph.add("Reshape", [scores, flat], f"{scores}/numbers")
        numbers = graph.add("Slice", [numbers, start, end, axis], f"{scores}/shifted")
        graph.replace_uses(last.output[0], graph.add("Reshape", [numbers, rows], f"{scores}/rows"))
        changed += 1
    return changed


def _end_of_shift(graph: EditableGraph, pad: onnx.NodeProto) -> onnx.NodeProto | None:
    """Return the last node of pad, read as [2 T, T], drop the first row, read as [T, 2 T - 1]; None for any other."""
    amounts = constant_behind(graph, pad.input[1]) if len(pad.input) > 1 else None
    if amounts is None or amounts.tolist() != _BEFORE_LAST or not _pads_zeros(graph, pad):
        return None
    turned = _next(graph, pad, "Reshape")
    dropped = _next(graph, turned, "Slice")
    back = _next(graph, dropped, "Reshape")
    if turned is None or dropped is None or back is None or back.output[0] in graph.output_names:
        return None
    batch, heads, frames, width = (Axis(pad.input[0], number) for number in range(4))
    shapes = [dims_of(graph, node.input[1]) for node in (turned, back)]
    shifted = shapes == [[batch, heads, -1, frames], [batch, heads, frames, width]]
    return back if shifted and _drops_first(graph, dropped) else None


def _pads_zeros(graph: EditableGraph, pad: onnx.NodeProto) -> bool:
    mode = next((attribute.s for attribute in pad.attribute if attribute.name == "mode"), b"constant")
    value = pad.input[2] if len(pad.input) > 2 else ""
    return mode == b"constant" and len(pad.input) < 4 and (not value or graph.scalar(value) == 0)


def _next(graph: EditableGraph, node: onnx.NodeProto | None, kind: str) -> onnx.NodeProto | None:
    """Return the one reader of a node, where it is of a kind."""
    readers = [] if node is None else graph.consumers.get(node.output[0], [])
    inner = node is not None and node.output[0] not in graph.output_names
    return readers[0] if inner and len(readers) == 1 and readers[0].op_type == kind else None


def _drops_first(graph: EditableGraph, node: onnx.NodeProto) -> bool:
    """Whether a Slice leaves out the first of axis 2 and nothing else."""
    parts = [constant_behind(graph, name) for name in node.input[1:]]
    if any(part is None or part.size != 1 for part in parts) or len(parts) < 3:
        return False
    start, end, axis, *step = (int(part.ravel()[0]) for part in parts if part is not None)
    return start == 1 and end >= np.iinfo(np.int32).max and axis == 2 and step in ([], [1])


def _cut(graph: EditableGraph, scores: str) -> tuple[str, ...]:
    """Return where the numbers of [B, heads, T, 2 T - 1] scores are cut, and the shapes before and after.

    From T - 1, T times 2 T - 2 of them; one where T is 1.
    """

    def numbers(*values: int) -> str:
        return graph.add_constant("shift/numbers", np.asarray(values, np.int64))

    one = numbers(1)
    frames = graph.add("Gather", [graph.add("Shape", [scores], "shift/shape"), numbers(2)], "shift/frames", axis=0)
    start = graph.add("Sub", [frames, one], "shift/start")
    width = graph.add("Mul", [start, numbers(2)], "shift/width")
    count = graph.add("Max", [graph.add("Mul", [frames, width], "shift/product"), one], "shift/count")
    end = graph.add("Add", [start, count], "shift/end")
    rows = graph.add("Concat", [numbers(0, 0), frames, numbers(-1)], "shift/rows", axis=0)
    return start, end, numbers(2), numbers(0, 0, -1), rows


# --- keys -------------------------------------------------------------------------------------------------------------


def _turn_in_two(graph: EditableGraph) -> int:
    changed = 0
    for node in [node for node in graph.graph.node if node.op_type == "Transpose"]:
        readers = graph.consumers.get(node.output[0], [])
        keys = bool(readers) and all(
            reader.op_type == "MatMul" and reader.input[1] == node.output[0] != reader.input[0] for reader in readers
        )
        if not keys or list(node.attribute[0].ints) != _TO_HEADS_TURNED or node.output[0] in graph.output_names:
            continue
        heads = graph.add("Transpose", [node.input[0]], f"{node.output[0]}/heads", perm=_TO_HEADS)
        turned = graph.add("Transpose", [heads], f"{node.output[0]}/turned", perm=_TURNED)
        graph.replace_uses(node.output[0], turned)
        changed += 1
    return changed
