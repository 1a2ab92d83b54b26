"""Write an LSTM over a single time step as products and sums, which every provider has kernels for; no cuDNN."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import onnx

    Array = npt.NDArray[np.generic]

_UNSUPPORTED = {"activation_alpha", "activation_beta", "clip", "input_forget"}


def unroll_lstm(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace forward LSTM nodes of one time step by their definition, in place; others stay.

    Parameters
    ----------
    model : onnx.ModelProto
        A graph that feeds its LSTM nodes sequences of length 1, as the prediction network of a greedy decoder does.

    Returns
    -------
    onnx.ModelProto
        The same object.
    """
    from onnx import numpy_helper

    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for index, node in enumerate(model.graph.node):
        if node.op_type == "LSTM" and _plain(node, set(weights)):
            nodes += _cell(model, node, weights, f"lstm_{index}")
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    _drop_unused_weights(model)
    return model


def _plain(node: onnx.NodeProto, weights: set[str]) -> bool:
    """Tell an LSTM of one direction and the usual activations, with constant weights and given states."""
    attributes = {attribute.name: attribute for attribute in node.attribute}
    inputs = [*node.input, *[""] * (8 - len(node.input))]
    return (
        not _UNSUPPORTED & set(attributes)
        and ("direction" not in attributes or attributes["direction"].s == b"forward")
        and (
            "activations" not in attributes or list(attributes["activations"].strings) == [b"Sigmoid", b"Tanh", b"Tanh"]
        )
        and ("layout" not in attributes or attributes["layout"].i == 0)
        and set(inputs[1:4]) - {""} <= weights
        and bool(inputs[1] and inputs[2] and inputs[5] and inputs[6])
        and not inputs[4]
        and not inputs[7]
    )


def _cell(model: onnx.ModelProto, node: onnx.NodeProto, weights: dict[str, Array], name: str) -> list[onnx.NodeProto]:
    """Return the definition; tensors keep a leading dimension of 1, the time step or the direction."""
    import numpy as np
    from onnx import helper, numpy_helper

    x, w, r, bias = node.input[:4]
    hidden, cell = node.input[5:7]
    both = np.concatenate([np.asarray(weights[w])[0], np.asarray(weights[r])[0]], axis=1)  # [4 H, I + H]
    width = both.shape[0] // 4
    total = np.asarray(weights[bias])[0] if bias else np.zeros(8 * width, np.float32)
    constants = {
        "weights": np.ascontiguousarray(both.T),
        "bias": total[: 4 * width] + total[4 * width :],
        "quarters": np.full(4, width, np.int64),
        "axis": np.array([1], np.int64),
    }
    model.graph.initializer.extend(numpy_helper.from_array(value, f"{name}/{key}") for key, value in constants.items())

    def make(operator: str, inputs: list[str], outputs: list[str], **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(operator, inputs, outputs, name=f"{name}/{outputs[0]}", **attributes)

    part = {key: f"{name}/{key}" for key in ("x_h", "product", "sum", "i", "o", "f", "g", "si", "so", "sf", "tg")}
    part |= {key: f"{name}/{key}" for key in ("kept", "new", "c", "tc", "h")}
    outputs = [*node.output, "", "", ""][:3]
    nodes = [
        make("Concat", [x, hidden], [part["x_h"]], axis=2),
        make("MatMul", [part["x_h"], f"{name}/weights"], [part["product"]]),
        make("Add", [part["product"], f"{name}/bias"], [part["sum"]]),
        make("Split", [part["sum"], f"{name}/quarters"], [part["i"], part["o"], part["f"], part["g"]], axis=2),
        make("Sigmoid", [part["i"]], [part["si"]]),
        make("Sigmoid", [part["o"]], [part["so"]]),
        make("Sigmoid", [part["f"]], [part["sf"]]),
        make("Tanh", [part["g"]], [part["tg"]]),
        make("Mul", [part["sf"], cell], [part["kept"]]),
        make("Mul", [part["si"], part["tg"]], [part["new"]]),
        make("Add", [part["kept"], part["new"]], [part["c"]]),
        make("Tanh", [part["c"]], [part["tc"]]),
        make("Mul", [part["so"], part["tc"]], [part["h"]]),
    ]
    if outputs[0]:
        nodes.append(make("Unsqueeze", [part["h"], f"{name}/axis"], [outputs[0]]))
    for source, target in ((part["h"], outputs[1]), (part["c"], outputs[2])):
        if target:
            nodes.append(make("Identity", [source], [target]))
    return nodes


def _drop_unused_weights(model: onnx.ModelProto) -> None:
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
