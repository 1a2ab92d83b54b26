"""Weight-only 8 bits for prediction network and joint: a quarter of the bytes a step reads, activations in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.quantization.thresholds import LEVELS
from tdt.surgery import EditableGraph, widen

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from tdt.quantization.source import SourceModel

# operator -> {input: axis along which each slice has its own scale}
_WEIGHTS = {"Gather": {0: 1}, "LSTM": {1: 1, 2: 1}, "MatMul": {1: 1}}
_MIN_ELEMENTS = 4096


def quantise_decoders(source: SourceModel, folder: Path) -> list[dict[str, Any]]:
    """Write the decoder files of `source` into `folder` with 8-bit weights, under the layout's int8 names.

    Returns
    -------
    list of dict
        By file: name, number of matrices, bytes before and after.
    """
    import onnx

    from tdt.model import without_precision
    from tdt.onnxfile import load_model

    files = source.found.files
    written = []
    for path in (files.decoder_joint, files.decoder, files.joiner):
        if path is None:
            continue
        graph = EditableGraph(load_model(path), path.parent)
        widen(graph)
        count = quantise_weights_only(graph)
        target = folder / f"{without_precision(path.stem)}.int8.onnx"
        onnx.save_model(graph.model, str(target), format="protobuf")
        before = path.stat().st_size
        written.append({"file": target.name, "matrices": count, "bytes": target.stat().st_size, "source_bytes": before})
    return written


def quantise_weights_only(graph: EditableGraph) -> int:
    """Put the matrices of LSTM, Gather and MatMul nodes behind DequantizeLinear, in place; returns how many."""
    made: dict[tuple[str, int], str] = {}
    for node in list(graph.graph.node):
        for index, axis in _WEIGHTS.get(node.op_type, {}).items():
            name = node.input[index] if index < len(node.input) else ""
            shape = graph.shape_of(name)
            if shape is None or len(shape) < 2 or int(np.prod(shape)) < _MIN_ELEMENTS:
                continue
            weight = graph.weight(name)
            if weight.dtype != np.float32:
                continue
            if (name, axis) not in made:
                made[name, axis] = _dequantised(graph, name, weight, axis)
            node.input[index] = made[name, axis]
    graph.reindex()
    graph.finish()
    return len(made)


def _dequantised(graph: EditableGraph, name: str, weight: npt.NDArray[np.float32], axis: int) -> str:
    others = tuple(number for number in range(weight.ndim) if number != axis)
    largest = np.abs(weight).max(axis=others)
    scales = np.where(largest > 0, largest / LEVELS, np.float32(1.0)).astype(np.float32)
    spread = scales.reshape([-1 if number == axis else 1 for number in range(weight.ndim)])
    values = np.clip(np.rint(weight / spread), -LEVELS, LEVELS).astype(np.int8)
    parts = [
        graph.add_constant(f"{name}/int8", values),
        graph.add_constant(f"{name}/scale", scales),
        graph.add_constant(f"{name}/zero_point", np.zeros(len(scales), np.int8)),
    ]
    return graph.add("DequantizeLinear", parts, f"{name}/dequantized", axis=axis)
