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
from tdt.quantization.onnx_graph import EditableGraph
from tdt.quantization.surgery.masks import broadcast_masks, single_masks
from tdt.quantization.surgery.position_split import split_positions

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

ZERO_POINT = 128
# Below this the rewrites cost more time at load than they save in a session.
LARGE_BYTES = 100_000_000
_INT8, _UINT8 = 3, 2  # onnx.TensorProto types
_X86 = frozenset({"amd64", "i386", "i686", "x86", "x86_64"})


def wants_unsigned(machine: str | None = None) -> bool:
    """Return whether the processor is of the kind that multiplies uint8 by int8: all of x86, with VNNI or without."""
    return (machine or platform.machine()).lower() in _X86


def unsigned_activations(graph: EditableGraph) -> int:
    """Rewrite symmetric int8 activations as uint8 with zero point 128, in place; returns how many.

    Parameters
    ----------
    graph : EditableGraph
        A graph with QuantizeLinear and DequantizeLinear; pairs that are not int8 with a constant zero point 0 stay.
    """
    names = [_zero_point(node) for node in graph.graph.node if node.op_type == "QuantizeLinear"]
    changed: dict[str, str] = {}
    for name in dict.fromkeys(names):
        tensor = graph.initializers.get(name)
        value = graph.constant(name, 1)
        if tensor is None or tensor.data_type != _INT8 or value is None or int(value.ravel()[0]) != 0:
            continue
        zero = np.full(value.shape, ZERO_POINT, np.uint8)
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
        Graph that projects positions (see :mod:`tdt.quantization.surgery.position_split`).
    position_names : tuple of str
        Its outputs, which are inputs of `model`.
    unsigned : int
        Activations rewritten from int8 to uint8.
    """

    model: bytes
    folder: Path
    positions: bytes | None
    position_names: tuple[str, ...]
    unsigned: int


def for_cpu(path: Path, *, unsigned: bool | None = None) -> CpuEncoder | None:
    """Return the encoder at `path` in its form for the CPU provider, or None where it is to be run as it is.

    Parameters
    ----------
    path : Path
        A float or Q/DQ encoder.
    unsigned : bool, optional
        Whether int8 activations become uint8; by default, where :func:`wants_unsigned` says so.

    Notes
    -----
    A graph of many megabytes also loses its position projections (computed once a length) and the masks that it
    writes out.
    """
    from tdt.graph import load_model, read_graph

    info = read_graph(path)
    if "EPContext" in info.ops:
        raise ProviderError(
            f"{path} is an engine built for TensorRT-RTX, which the CPU cannot run. Load it with "
            "encoder_provider='tensorrt-rtx' on a machine with such a card, or load the model it was built from."
        )
    large = info.file_bytes + info.external_bytes >= LARGE_BYTES
    quantised = info.quantization == "qdq"
    if info.quantization not in ("float", "qdq") or not (large or quantised):
        return None
    graph = EditableGraph(load_model(path, weights=False), info.weights_folder)
    shifted = unsigned_activations(graph) if quantised and (wants_unsigned() if unsigned is None else unsigned) else 0
    split = None
    if large:
        broadcast_masks(graph)
        single_masks(graph)
        split = split_positions(graph, info.weights_folder)
    if not shifted and split is None:
        return None
    return CpuEncoder(
        graph.model.SerializeToString(),
        info.weights_folder,
        split.model.SerializeToString() if split is not None else None,
        split.names if split is not None else (),
        shifted,
    )
