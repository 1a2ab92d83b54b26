"""SmoothQuant folded into the preceding layer norm (arXiv 2211.10438), with the strength searched by layer.

A channel j of the norm's output is divided by ``s_j = max|X_j|^a / max|W_j|^(1 - a)`` (by scaling the norm's gain and
bias) and row j of every matrix that reads it is multiplied by s_j: the same function, with outliers moved from
activations, which share one scale, to weights, which have one a column. Tensors that no norm makes are divided by a
multiplication of their own, where that pays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tdt.quantization.thresholds import LEVELS
from tdt.quantization.weights import quantise_weight

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    import onnx

    from tdt.quantization.parts import Linear
    from tdt.quantization.statistics import TensorStatistics
    from tdt.surgery import EditableGraph

    Float32 = npt.NDArray[np.float32]

ALPHAS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
_SEARCH_ROWS = 256
_SEARCH_COLUMNS = 1024
_ONE_SIDED = 0.6  # a range less symmetric than this is centred when it is quantised


@dataclass(frozen=True, slots=True)
class Smoothing:
    """What was found for one layer norm.

    Parameters
    ----------
    tensor : str
        Output of the norm.
    alpha : float
        Strength; 0 where the layer is better off as it is.
    error_before, error_after : float
        Relative error of the products on the sample, quantised without and with smoothing.
    scale : ndarray [shape=(channels,)], float32, optional
        What the tensor's channels are divided by; None where nothing changes.
    """

    tensor: str
    alpha: float
    error_before: float
    error_after: float
    scale: Float32 | None = None


def smooth(
    graph: EditableGraph,
    linears: Sequence[Linear],
    statistics: Mapping[str, TensorStatistics],
    alphas: Sequence[float] = ALPHAS,
    keep_below: float = 0.98,
    keep_inserted: float = 0.65,
) -> list[Smoothing]:
    """Choose a strength for each tensor that only quantised products read, and put it into the graph.

    Parameters
    ----------
    graph : EditableGraph
        Changed in place.
    linears : sequence of Linear
        Products that will be quantised.
    statistics : mapping of str to TensorStatistics
        By activation tensor.
    alphas : sequence of float
        Strengths to try.
    keep_below : float
        A layer is changed where its error falls below this share of what it was.
    keep_inserted : float
        The same for tensors that no layer norm makes (after a SiLU), whose division costs a multiplication.
    """
    found = []
    for producer, readers in _groups(graph, linears):
        folded = producer.op_type == "LayerNormalization"
        tensor, seen = readers[0].source, statistics[readers[0].source]
        weights = [graph.weight(reader.weight).astype(np.float32) for reader in readers]
        sampled = [_some_columns(weight) for weight in weights]
        rows = seen.sample[:_SEARCH_ROWS]
        before = _error(rows, seen.channel_absmax, sampled, np.ones(seen.channels, np.float32))
        best, best_error, best_scale = 0.0, before * (keep_below if folded else keep_inserted), None
        for alpha in alphas:
            scale = _scale(seen.channel_absmax, weights, alpha)
            error = _error(rows, seen.channel_absmax, sampled, scale)
            if error < best_error:
                best, best_error, best_scale = alpha, error, scale
        if best_scale is not None:
            _fold(graph, producer, readers, best_scale) if folded else _insert(graph, producer, readers, best_scale)
        found.append(Smoothing(tensor, best, before, best_error if best else before, best_scale))
    graph.finish()
    return found


def _groups(graph: EditableGraph, linears: Sequence[Linear]) -> list[tuple[onnx.NodeProto, list[Linear]]]:
    """Return the producers of tensors that only quantised products read, with these products."""
    by_source: dict[str, list[Linear]] = {}
    for linear in linears:
        by_source.setdefault(linear.source, []).append(linear)
    groups = []
    for source, readers in by_source.items():
        producer = graph.producers.get(source)
        if producer is None or source in graph.output_names:
            continue
        others = [node for node in graph.consumers[source] if node.op_type != "Shape"]
        own = {reader.node for reader in readers}
        shared = any(len(graph.consumers.get(reader.weight, [])) > 1 for reader in readers)
        gains = producer.input[1:] if producer.op_type == "LayerNormalization" else []
        gain_shared = any(len(graph.consumers.get(name, [])) > 1 for name in gains if name)
        if all(node.output[0] in own for node in others) and not shared and not gain_shared:
            groups.append((producer, readers))
    return groups


def _scale(channel_absmax: Float32, weights: Sequence[Float32], alpha: float) -> Float32:
    rows = np.max([np.abs(weight).max(axis=1) for weight in weights], axis=0)
    activation = np.maximum(channel_absmax, 1e-5)
    scale = activation**alpha / np.maximum(rows, 1e-5) ** (1.0 - alpha)
    scale = np.clip(scale / np.exp(np.mean(np.log(scale))), 1e-3, 1e3)
    return np.asarray(scale, np.float32)


def _error(rows: Float32, channel_absmax: Float32, weights: Sequence[Float32], scale: Float32) -> float:
    """Return the relative error of the products on a sample that is divided by `scale` and quantised."""
    smoothed = rows / scale
    high = max(float((channel_absmax / scale).max()), 1e-12)
    low = max(min(float(smoothed.min()), 0.0), -high)
    centre = (high + low) / 2 if low > -_ONE_SIDED * high else 0.0
    step = (high - centre) / LEVELS
    levels = np.clip(np.rint((smoothed - centre) / step), -LEVELS, LEVELS)
    quantised = (levels * step + centre).astype(np.float32)
    wrong = right = 0.0
    for weight in weights:
        exact = rows @ weight
        approximate = quantised @ quantise_weight(weight * scale[:, None]).dequantised()
        wrong += float(np.square(exact - approximate).sum())
        right += float(np.square(exact).sum())
    return float(np.sqrt(wrong / max(right, 1e-30)))


def _some_columns(weight: Float32) -> Float32:
    step = max(1, weight.shape[1] // _SEARCH_COLUMNS)
    return np.ascontiguousarray(weight[:, ::step])


def _fold(graph: EditableGraph, norm: onnx.NodeProto, readers: Sequence[Linear], scale: Float32) -> None:
    for name in norm.input[1:]:
        if name:
            graph.add_constant(name, graph.weight(name) / scale, exact_name=True)
    for weight in {reader.weight for reader in readers}:
        graph.add_constant(weight, graph.weight(weight) * scale[:, None], exact_name=True)


def _insert(graph: EditableGraph, producer: onnx.NodeProto, readers: Sequence[Linear], scale: Float32) -> None:
    """Divide a tensor that no norm makes by a multiplication of its own; it keeps its name."""
    tensor = readers[0].source
    before = graph.fresh(f"{tensor}/unsmoothed")
    for index, name in enumerate(producer.output):
        if name == tensor:
            producer.output[index] = before
    graph.producers[before] = producer
    inverse = graph.add_constant(f"{tensor}/smoothing", np.asarray(1.0 / scale, np.float32))
    graph.add("Mul", [before, inverse], tensor, outputs=[tensor])
    for weight in {reader.weight for reader in readers}:
        graph.add_constant(weight, graph.weight(weight) * scale[:, None], exact_name=True)
    graph.reindex()
