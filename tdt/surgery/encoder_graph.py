"""The encoder graph as a device wants it: frames time-major, the joint's encoder projection computed beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tdt.onnxfile import load_model
from tdt.runtime import Backend, Session
from tdt.surgery.networks import cut_decoder

if TYPE_CHECKING:
    import onnx

    from tdt.spec import ModelFiles, ModelSpec


def with_projection(files: ModelFiles, spec: ModelSpec) -> tuple[bytes, int]:
    """Append the transposition and the joint's encoder projection to the encoder.

    Host decoding then copies J numbers a frame (640 in the published models) instead of D (1024), and the product runs
    where the frames are.

    Returns
    -------
    graph : bytes
        With the encoder's inputs and the outputs `frames` [B, T', D] and `projected` [B, T', J]; external weights stay
        references into the model's folder. Empty where encoder and decoder are of different operator sets.
    width : int
        J.
    """
    import onnx
    from onnx import helper

    model = load_model(files.encoder, weights=False)
    serialised = cut_decoder(files, spec).projector
    width = projected_width(serialised, spec)
    projector = onnx.load_from_string(serialised)
    graph = model.graph
    nodes = [helper.make_node("Transpose", [graph.output[0].name], ["frames"], perm=[0, 2, 1])]
    nodes += [_renamed(node) for node in projector.graph.node]
    graph.node.extend(nodes)
    for tensor in projector.graph.initializer:
        tensor.name = f"projection/{tensor.name}"
        graph.initializer.append(tensor)
    types = {entry.domain: entry.version for entry in model.opset_import}
    for entry in projector.opset_import:
        if types.setdefault(entry.domain, entry.version) != entry.version:
            return b"", 0
    del graph.output[:]
    graph.output.extend(
        [
            helper.make_tensor_value_info("frames", 1, ["B", "T", spec.encoder_dim]),
            helper.make_tensor_value_info("projected", 1, ["B", "T", width]),
        ]
    )
    return bytes(model.SerializeToString()), width


def projection_tail(files: ModelFiles, spec: ModelSpec) -> tuple[bytes, int]:
    """Return the transposition and the projection as a graph of its own, for encoders that cannot be edited.

    Returns
    -------
    graph : bytes
        From `encoded` [B, D, T'] to `frames` [B, T', D] and `projected` [B, T', J].
    width : int
        J.
    """
    import onnx
    from onnx import helper

    serialised = cut_decoder(files, spec).projector
    width = projected_width(serialised, spec)
    model = onnx.load_from_string(serialised)
    del model.graph.input[:]
    model.graph.input.append(helper.make_tensor_value_info("encoded", 1, ["B", spec.encoder_dim, "T"]))
    model.graph.node.insert(0, helper.make_node("Transpose", ["encoded"], ["frames"], perm=[0, 2, 1]))
    model.graph.output.append(helper.make_tensor_value_info("frames", 1, ["B", "T", spec.encoder_dim]))
    return bytes(model.SerializeToString()), width


def projected_width(projector: bytes, spec: ModelSpec) -> int:
    """Return J, by letting the graph of the projection project one frame."""
    frame = np.zeros((1, 1, spec.encoder_dim), np.float32)
    return int(Session(projector, Backend()).run({"frames": frame})[0].shape[2])


def _renamed(node: onnx.NodeProto) -> onnx.NodeProto:
    """Prefix what the projection calls its own; its ports keep their names."""
    for names in (node.input, node.output):
        names[:] = [name if name in ("", "frames", "projected") else f"projection/{name}" for name in names]
    node.name = f"projection/{node.name}" if node.name else ""
    return node
