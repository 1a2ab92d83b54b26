"""The encoder graph as a device wants it: lengths integer, frames time-major, the joint's projection beside them.

Every graph that goes to a card passes through here. A device that computes in bfloat16, float16 or TF32 may take the
floating-point arithmetic on lengths, of which exports make their masks, for activations like all others, and cut the
ends of utterances (NVIDIA/TensorRT#4822); integers it leaves alone.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tdt.onnxfile import load_model, read_graph
from tdt.runtime import Backend, Session
from tdt.surgery.causal_convolutions import causal_convolutions
from tdt.surgery.editing import EditableGraph
from tdt.surgery.half_islands import narrow_islands
from tdt.surgery.lengths import float_lengths
from tdt.surgery.networks import cut_decoder
from tdt.surgery.prepare import prepare_encoder

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

    from tdt.spec import ModelFiles, ModelSpec

_log = logging.getLogger("tdt")


@dataclass(frozen=True, slots=True)
class DeviceGraph:
    """An encoder prepared for a device.

    Parameters
    ----------
    model : bytes
        Serialised, with the encoder's inputs; external weights are references into `folder`.
    folder : Path or None
        Where they lie; None where the graph holds all.
    projects : bool
        Whether its outputs are `frames` [B, T', D] and `projected` [B, T', J]; else there is one, [B, D, T'], and
        :func:`projection_tail` has to follow.
    width : int
        J; 0 where it does not project.
    """

    model: bytes
    folder: Path | None
    projects: bool
    width: int


def device_graph(files: ModelFiles, spec: ModelSpec, *, narrow: bool = False, causal: bool = False) -> DeviceGraph:
    """Return the encoder prepared, with the transposition and the joint's encoder projection appended.

    Parameters
    ----------
    files, spec : ModelFiles, ModelSpec
    narrow : bool
        Whether the float32 islands of a float16 encoder are narrowed, see :mod:`tdt.surgery.half_islands`; for CUDA.
    causal : bool
        Whether depthwise convolutions become :mod:`tdt.surgery.causal_convolutions`; for a provider that runs them.

    Notes
    -----
    Host decoding then copies J numbers a frame (640 in the published models) instead of D (1024), and the product runs
    where the frames are. Where encoder and decoder are of different operator sets, the projection cannot be appended.
    """
    info = read_graph(files.encoder)
    model = load_model(files.encoder, weights=False)
    prepare_encoder(model, info.weights_folder, keep_outputs=[model.graph.output[0].name], in_place=True)
    if narrow:
        narrow_islands(EditableGraph(model, info.weights_folder))
    if causal:
        changed = causal_convolutions(EditableGraph(model, info.weights_folder))
        _log.debug("%s: %d depthwise convolutions made causal", files.encoder.name, changed)
    _warn_of_float_lengths(model, files.encoder.name)
    width = _append_projection(model, files, spec)
    folder = info.weights_folder if info.external else None
    return DeviceGraph(bytes(model.SerializeToString()), folder, width > 0, width)


def _warn_of_float_lengths(model: onnx.ModelProto, name: str) -> None:
    left = float_lengths(EditableGraph(model))
    if left:
        _log.warning(
            "%s computes lengths in floating point (%s), in a form that is not known here: in less than float32 the "
            "ends of clips may be lost. `tdt doctor` compares them with the CPU's.",
            name,
            left[0],
        )


def _append_projection(model: onnx.ModelProto, files: ModelFiles, spec: ModelSpec) -> int:
    """Append the projection, in place; return J, or 0 where nothing was changed."""
    import onnx
    from onnx import helper

    serialised = cut_decoder(files, spec).projector
    projector = onnx.load_from_string(serialised)
    types = {entry.domain: entry.version for entry in model.opset_import}
    if any(types.get(entry.domain, entry.version) != entry.version for entry in projector.opset_import):
        return 0
    model.opset_import.extend(entry for entry in projector.opset_import if entry.domain not in types)
    width = projected_width(serialised, spec)
    graph = model.graph
    nodes = [helper.make_node("Transpose", [graph.output[0].name], ["frames"], perm=[0, 2, 1])]
    nodes += [_renamed(node) for node in projector.graph.node]
    graph.node.extend(nodes)
    for tensor in projector.graph.initializer:
        tensor.name = f"projection/{tensor.name}"
        graph.initializer.append(tensor)
    del graph.output[:]
    graph.output.extend(
        [
            helper.make_tensor_value_info("frames", 1, ["B", "T", spec.encoder_dim]),
            helper.make_tensor_value_info("projected", 1, ["B", "T", width]),
        ]
    )
    return width


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
