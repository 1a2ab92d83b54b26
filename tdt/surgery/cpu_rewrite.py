"""A Q/DQ encoder at load on a CPU: the same numbers in the form that the integer kernels like best.

TensorRT wants symmetric int8 activations with zero point 0. On x86 without VNNI, ONNX Runtime multiplies int8 by int8
slower than float32, while uint8 by int8 is fast. Shifting type and zero point together, int8 with zero point 0 to
uint8 with zero point 128 at the same scale, represents the same values: ``(q + 128) - 128 = q``.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tdt.errors import ProviderError
from tdt.surgery.attention import simplify_attention
from tdt.surgery.cpu_half import round_like_a_card
from tdt.surgery.editing import EditableGraph
from tdt.surgery.masks import broadcast_masks, single_masks
from tdt.surgery.position_split import split_positions

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

ZERO_POINT = 128
# Ends of the names by which an offset, and the bias that makes up for it, are found again; the quantiser writes them.
OFFSET = "/offset"
OFFSET_BIAS = "/offset_bias"
_WHOLE = 0.01  # an offset in float32 is a whole number of levels to this accuracy
# Below this the rewrites cost more time at load than they save in a session.
LARGE_BYTES = 100_000_000
_INT8, _UINT8 = 3, 2  # onnx.TensorProto types
_X86 = frozenset({"amd64", "i386", "i686", "x86", "x86_64"})


def wants_unsigned(machine: str | None = None) -> bool:
    """Return whether the processor is of the kind that multiplies uint8 by int8: all of x86, with VNNI or without."""
    return (machine or platform.machine()).lower() in _X86


def fold_offsets(graph: EditableGraph) -> int:
    """Turn the offsets of one-sided tensors into zero points, in place; returns how many.

    :func:`tdt.quantization.writer.write_qdq` writes them as a subtraction before the pair and a bias after each
    product; with the offset a whole number of levels, a zero point says the same without either.
    """
    folded = 0
    for node in list(graph.graph.node):
        if node.op_type == "QuantizeLinear":
            folded += _fold_offset(graph, node)
    graph.reindex()
    return folded


def _fold_offset(graph: EditableGraph, node: onnx.NodeProto) -> int:
    shift, scale = graph.producers.get(node.input[0]), graph.scalar(node.input[1])
    if shift is None or shift.op_type != "Sub" or not shift.input[1].endswith(OFFSET) or scale is None:
        return 0
    offset = (graph.scalar(shift.input[1]) or 0.0) / scale
    level = round(offset)
    readers = graph.consumers.get(node.output[0], [])
    products = [product for reader in readers for product in graph.consumers.get(reader.output[0], [])]
    sums = [graph.consumers.get(product.output[0], []) for product in products]
    biased = all(
        len(adds) == 1 and adds[0].op_type == "Add" and adds[0].input[1].endswith(OFFSET_BIAS) for adds in sums
    )
    if abs(offset - level) > _WHOLE or abs(level) >= ZERO_POINT or not products or not biased:
        return 0
    zero = graph.add_constant(f"{node.output[0]}/zero_point", np.asarray(-level, np.int8))
    node.input[0], node.input[2] = shift.input[0], zero
    for reader in readers:
        reader.input[2] = zero
    for product, adds in zip(products, sums, strict=True):
        output, adds[0].output[0] = adds[0].output[0], graph.fresh(f"{adds[0].output[0]}/folded")
        product.output[0] = output
    return 1


def unsigned_activations(graph: EditableGraph) -> int:
    """Rewrite int8 activations as uint8 with the zero point 128 higher, in place; returns how many.

    Parameters
    ----------
    graph : EditableGraph
        A graph with QuantizeLinear and DequantizeLinear; pairs that are not int8 with a constant zero point stay.
    """
    names = [_zero_point(node) for node in graph.graph.node if node.op_type == "QuantizeLinear"]
    changed: dict[str, str] = {}
    for name in dict.fromkeys(names):
        tensor = graph.initializers.get(name)
        value = graph.constant(name, 1)
        if tensor is not None and tensor.data_type == _INT8 and value is not None:
            zero = (value.astype(np.int32) + ZERO_POINT).astype(np.uint8)
            changed[name] = graph.add_constant(f"{name}/unsigned", zero)
    rewritten = 0
    for node in graph.graph.node:
        if node.op_type == "QuantizeLinear" and _zero_point(node) in changed:
            rewritten += _shift_pair(graph, node, changed)
    graph.reindex()
    return rewritten


def _zero_point(node: onnx.NodeProto) -> str:
    return node.input[2] if len(node.input) > 2 else ""


def _shift_pair(graph: EditableGraph, node: onnx.NodeProto, changed: dict[str, str]) -> int:
    readers = graph.consumers.get(node.output[0], [])
    fits = all(reader.op_type == "DequantizeLinear" and _zero_point(reader) in changed for reader in readers)
    if not readers or not fits or node.output[0] in graph.output_names:
        return 0
    for reader in readers:
        reader.input[2] = changed[_zero_point(reader)]
    node.input[2] = changed[_zero_point(node)]
    return 1


@dataclass(frozen=True, slots=True)
class CpuEncoder:
    """An encoder as the CPU provider shall run it.

    Parameters
    ----------
    model : bytes
        Serialised graph; external weights are references into `folder`.
    folder : Path
        Where they lie.
    positions : bytes or None
        Graph that projects positions (see :mod:`tdt.surgery.position_split`).
    position_names : tuple of str
        Its outputs, which are inputs of `model`.
    rewritten : int
        Activations whose type or zero point changed, or which are rounded.
    """

    model: bytes
    folder: Path
    positions: bytes | None
    position_names: tuple[str, ...]
    rewritten: int


def for_cpu(path: Path, *, unsigned: bool | None = None) -> CpuEncoder | None:
    """Return the encoder at `path` in its form for the CPU provider, or None where it is to be run as it is.

    Parameters
    ----------
    path : Path
        A float32, float16 or Q/DQ encoder.
    unsigned : bool, optional
        Whether int8 activations become uint8; by default, where :func:`wants_unsigned` says so.

    Notes
    -----
    A graph of many megabytes also loses its position projections (computed once a length), the masks that it writes
    out, and passes over the scores of attention (:mod:`tdt.surgery.attention`).
    """
    from tdt.onnxfile import load_model, read_graph

    info = read_graph(path)
    if "EPContext" in info.ops:
        raise ProviderError(
            f"{path} is an engine built for TensorRT-RTX, which the CPU cannot run. Load it with "
            "encoder_provider='tensorrt-rtx' on a machine with such a card, or load the model it was built from."
        )
    large = info.file_bytes + info.external_bytes >= LARGE_BYTES
    quantised = info.quantization == "qdq"
    if info.quantization not in ("float", "half", "qdq") or not (large or quantised or info.quantization == "half"):
        return None
    graph = EditableGraph(load_model(path, weights=False), info.weights_folder)
    if info.quantization == "half":
        return _rounding(graph, info.weights_folder)
    shifted = 0
    if quantised:
        shifted = fold_offsets(graph)
        if wants_unsigned() if unsigned is None else unsigned:
            shifted = unsigned_activations(graph)
        graph.finish()
    split, simplified = None, 0
    if large:
        broadcast_masks(graph)
        single_masks(graph)
        split = split_positions(graph, info.weights_folder)
        simplified = simplify_attention(graph)
    if not shifted and not simplified and split is None:
        return None
    return CpuEncoder(
        graph.model.SerializeToString(),
        info.weights_folder,
        split.model.SerializeToString() if split is not None else None,
        split.names if split is not None else (),
        shifted,
    )


def _rounding(graph: EditableGraph, folder: Path) -> CpuEncoder | None:
    rounded = round_like_a_card(graph)
    return CpuEncoder(graph.model.SerializeToString(), folder, None, (), rounded) if rounded else None
