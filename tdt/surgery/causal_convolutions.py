"""Depthwise convolutions and their SiLU as one operator of ONNX Runtime that needs no cuDNN.

cuDNN makes a plan for each convolution and each shape, and ONNX Runtime (1.31) keeps one: at every change of shape all
plans are made anew, 9 calls each. 24 of the 29 convolutions of a prepared 0.6B encoder are depthwise. The operator
`com.microsoft::CausalConvWithState` is a plain CUDA kernel: no plan, no transposes, the activation included. It hears
no future, so that the input gets as many zero frames at its end as the convolution looks ahead, and the first frames
of the output are cut.

For the CUDA provider only. On the CPU it is several times slower than a convolution; TensorRT does not know it.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tdt.errors import ModelFileCorruptError, ProviderError, RunError
from tdt.runtime import EXECUTION_PROVIDERS, Session
from tdt.surgery.editing import SWAP, is_swap

if TYPE_CHECKING:
    import onnx

    from tdt.runtime import Backend
    from tdt.surgery.editing import EditableGraph

OPERATOR, DOMAIN = "CausalConvWithState", "com.microsoft"
_TYPES = frozenset({1, 10, 16})  # float32, float16, bfloat16
_LEAST_OPSET = 13  # from which on Pad and Slice take their numbers as inputs
_END = np.iinfo(np.int64).max

_log = logging.getLogger("tdt")


def causal_convolutions(graph: EditableGraph) -> int:
    """Rewrite depthwise Conv1d followed by SiLU, in place; return how many.

    What is not of that kind, or not padded alike at both ends, stays as it is.
    """
    versions = {entry.domain: entry.version for entry in graph.model.opset_import}
    if versions.get("", 0) < _LEAST_OPSET:
        return 0
    masks: dict[str, str] = {}
    rewritten = 0
    for node in list(graph.graph.node):
        if node.op_type != "Conv":
            continue
        problem = _rewrite(graph, node, masks)
        rewritten += not problem
        if problem and len(graph.shape_of(node.input[1]) or ()) == 3:
            _log.debug("%s stays a convolution of cuDNN: %s", node.name, problem)
    if rewritten and DOMAIN not in versions:
        entry = graph.model.opset_import.add()
        entry.domain, entry.version = DOMAIN, 1
    graph.finish()
    return rewritten


def _rewrite(graph: EditableGraph, node: onnx.NodeProto, masks: dict[str, str]) -> str:
    """Rewrite one convolution; return why not, where it stays."""
    weight, product = graph.initializers.get(node.input[1]), _silu(graph, node.output[0])
    if weight is None or len(weight.dims) != 3:
        return "its weights are no constants [channels, 1, width]"
    channels, group, width = weight.dims
    ahead, source = _padding(graph, node)
    if group != 1 or not _is_plain(node, channels):
        return "it is not depthwise, or has strides or dilations"
    if weight.data_type not in _TYPES:
        return f"its weights are of type {weight.data_type}"
    if width % 2 == 0 or ahead != width // 2:
        return f"it is {width} wide and not padded by {width // 2} at both ends"
    if product is None:
        return "no SiLU follows"
    stem = product.output[0]
    pads = graph.add_constant("causal/pads", np.asarray([0, 0, 0, 0, ahead, 0], np.int64))
    padded = graph.add("Pad", [_time_major(graph, source, masks), pads], f"{stem}/padded")
    names = [graph.fresh(f"{stem}/causal"), graph.fresh(f"{stem}/state")]
    inputs = [padded, *node.input[1:]]
    graph.add(OPERATOR, inputs, stem, outputs=names, domain=DOMAIN, activation="silu", channels_last=1)
    begin, end, axis = (graph.add_constant("causal/cut", np.asarray([n], np.int64)) for n in (ahead, _END, 1))
    _hand_on(graph, product, graph.add("Slice", [names[0], begin, end, axis], f"{stem}/cut"))
    return ""


def _is_plain(node: onnx.NodeProto, channels: int) -> bool:
    known = {attribute.name: attribute for attribute in node.attribute}
    ones = all(set(known[name].ints) <= {1} for name in ("dilations", "strides") if name in known)
    automatic = "auto_pad" in known and known["auto_pad"].s not in (b"", b"NOTSET")
    return ones and not automatic and "group" in known and known["group"].i == channels


def _padding(graph: EditableGraph, node: onnx.NodeProto) -> tuple[int, str]:
    """Return the zeros that a convolution has at both ends, and what it is of; -1 where it is not the same number."""
    pads = next((list(attribute.ints) for attribute in node.attribute if attribute.name == "pads"), [0, 0])
    before = graph.producers.get(node.input[0])
    if before is None or before.op_type != "Pad":
        return (pads[0] if pads[0] == pads[1] else -1), node.input[0]
    written = _pads_of(graph, before)
    if any(pads) or written is None or written[2] != written[5] or any(written[:2]) or any(written[3:5]):
        return -1, node.input[0]
    return written[2], before.input[0]


def _pads_of(graph: EditableGraph, pad: onnx.NodeProto) -> list[int] | None:
    """Return the six numbers of a Pad of zeros over [B, C, T], else None."""
    mode = next((attribute.s for attribute in pad.attribute if attribute.name == "mode"), b"constant")
    written = graph.constant(_folded(graph, pad.input[1]))
    zero = len(pad.input) < 3 or not pad.input[2] or graph.scalar(pad.input[2]) == 0
    axes = len(pad.input) > 3 and pad.input[3]
    if mode != b"constant" or axes or written is None or written.size != 6 or not zero:
        return None
    return [int(number) for number in written]


def _folded(graph: EditableGraph, name: str) -> str:
    """Look through a cast of whole numbers."""
    node = graph.producers.get(name)
    return str(node.input[0]) if node is not None and node.op_type == "Cast" else name


def _silu(graph: EditableGraph, name: str) -> onnx.NodeProto | None:
    """Return the product of `name` and its own sigmoid, where nothing else reads it."""
    readers = graph.consumers.get(name, [])
    sigmoid = next((node for node in readers if node.op_type == "Sigmoid"), None)
    product = next((node for node in readers if node.op_type == "Mul"), None)
    if sigmoid is None or product is None or len(readers) != 2 or name in graph.output_names:
        return None
    alone = graph.consumers.get(sigmoid.output[0], []) == [product] and sigmoid.output[0] not in graph.output_names
    return product if alone and set(product.input) == {name, sigmoid.output[0]} else None


def _time_major(graph: EditableGraph, name: str, masks: dict[str, str]) -> str:
    """Return [B, T, C] of [B, C, T] `name`: what it was transposed from, before or after padding is set to zero."""
    made = graph.producers.get(name)
    if made is not None and is_swap(made):
        return str(made.input[0])
    if made is not None and made.op_type == "Where" and len(graph.consumers.get(name, [])) == 1:
        mask, fill, value = made.input
        inner, lifted = graph.producers.get(value), graph.producers.get(mask)
        if is_swap(inner) and _lifts_time(graph, lifted) and graph.scalar(fill) is not None:
            assert inner is not None
            assert lifted is not None
            if mask not in masks:
                last = graph.add_constant("causal/axis", np.asarray([2], np.int64))
                masks[mask] = graph.add("Unsqueeze", [lifted.input[0], last], f"{mask}/time_major")
            return graph.add("Where", [masks[mask], fill, inner.input[0]], f"{name}/time_major")
    return graph.add("Transpose", [name], f"{name}/time_major", perm=SWAP)


def _lifts_time(graph: EditableGraph, node: onnx.NodeProto | None) -> bool:
    """Whether a node makes [B, 1, T] of [B, T]."""
    axes = None if node is None or node.op_type != "Unsqueeze" or len(node.input) < 2 else graph.constant(node.input[1])
    return axes is not None and axes.tolist() == [1]


def _hand_on(graph: EditableGraph, product: onnx.NodeProto, result: str) -> None:
    """Let the readers of a SiLU read [B, T, C] `result`; those that do not transpose it get it transposed."""
    old = product.output[0]
    swaps = [
        node for node in graph.consumers.get(old, []) if is_swap(node) and node.output[0] not in graph.output_names
    ]
    for swap in swaps:
        graph.replace_uses(swap.output[0], result)
    if len(swaps) < len(graph.consumers.get(old, [])) or old in graph.output_names:
        product.output[0] = graph.fresh(f"{old}/replaced")
        graph.add("Transpose", [result], old, outputs=[old], perm=SWAP)


def runs_causal_convolutions(backend: Backend) -> bool:
    """Return whether a provider has the operator in the form written here, by opening a graph of it alone."""
    from onnx import TensorProto, helper

    if backend.provider != "cuda":
        return False
    names = (["x", "w"], ["y", "state"])
    node = helper.make_node(OPERATOR, *names, name="probe", domain=DOMAIN, activation="silu", channels_last=1)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", "T", 4]) for name in ("x", "y"))
    w = helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 1, 3])
    graph = helper.make_graph([node], "probe", [x, w], [y])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    try:
        session = Session(model, replace(backend, profile=None), cpu_nodes="allow", name="a probe for an operator")
        nodes = session.placement()
        session.close()
    except (ModelFileCorruptError, ProviderError, RunError) as problem:
        _log.debug("%s has no %s: %s", backend, OPERATOR, problem)
        return False
    return bool(nodes) and all(node.provider == EXECUTION_PROVIDERS["cuda"] for node in nodes)
