"""Nodes appended to the joint: what a step needs of its logits, so that they never leave the graph.

Two integers and three numbers cross per evaluation instead of some 8198 logits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.kernels.decoder.constants import ALPHA

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

REDUCE_AXES_AS_INPUT = 18  # the operator set in which ReduceMax and ReduceL1 take their axes as an input


def head_nodes(logits: str, classes: int, opset: int) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Return nodes and constants that turn logits [B, W, V + N] into choices and scores.

    Parameters
    ----------
    logits : str
        Name of the tensor.
    classes : int
        Size V of the token slice, blank included.
    opset : int
        Version of the graph's operator set, 13 or later.

    Returns
    -------
    nodes, constants : list
        `choices` [B, W, 2] int64: best token and best duration index, the first of equals. `scores` [B, W, 3] float32:
        log-probability of the best token, sum of probabilities to the power of 0.33, sum of magnitudes of all logits
        (NaN or infinite where any logit is).
    """
    from onnx import helper, numpy_helper

    def constant(name: str, values: Any, dtype: Any) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array(values, dtype), f"head/{name}")

    def node(op: str, inputs: Sequence[str], output: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(op, list(inputs), [output], **attributes)

    def reduce(op: str, source: str, output: str) -> onnx.NodeProto:
        if op == "ReduceSum" or opset >= REDUCE_AXES_AS_INPUT:
            return node(op, [source, "head/last"], output, keepdims=1)
        return node(op, [source], output, axes=[2], keepdims=1)

    constants = [
        constant("zero", [0], np.int64),
        constant("classes", [classes], np.int64),
        constant("end", [np.iinfo(np.int64).max], np.int64),
        constant("last", [2], np.int64),
        constant("alpha", ALPHA, np.float32),
        constant("minus_alpha", -ALPHA, np.float32),
    ]
    nodes = [
        node("Slice", [logits, "head/zero", "head/classes", "head/last"], "head/tokens"),
        node("Slice", [logits, "head/classes", "head/end", "head/last"], "head/durations"),
        node("ArgMax", ["head/tokens"], "head/token", axis=2, keepdims=1),
        node("ArgMax", ["head/durations"], "head/duration", axis=2, keepdims=1),
        node("Concat", ["head/token", "head/duration"], "choices", axis=2),
        reduce("ReduceMax", "head/tokens", "head/best"),
        node("Sub", ["head/tokens", "head/best"], "head/below"),
        node("Exp", ["head/below"], "head/exp"),
        reduce("ReduceSum", "head/exp", "head/total"),
        node("Log", ["head/total"], "head/log_total"),
        node("Neg", ["head/log_total"], "head/logprob"),
        node("Mul", ["head/below", "head/alpha"], "head/below_alpha"),
        node("Exp", ["head/below_alpha"], "head/exp_alpha"),
        reduce("ReduceSum", "head/exp_alpha", "head/total_alpha"),
        node("Mul", ["head/log_total", "head/minus_alpha"], "head/scale_log"),
        node("Exp", ["head/scale_log"], "head/scale"),
        node("Mul", ["head/total_alpha", "head/scale"], "head/power_sum"),
        reduce("ReduceL1", logits, "head/magnitude"),
        node("Concat", ["head/logprob", "head/power_sum", "head/magnitude"], "scores", axis=2),
    ]
    return nodes, constants
