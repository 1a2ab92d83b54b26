"""Cut the decoder graphs of either layout into the same three networks, and append to each what the loop needs.

    projector   frames [B, T, D]                    -> projected [B, T, J]
    predictor   label [B, 1], hidden, cell          -> prediction [B, J], next_hidden, next_cell
    joint       window [B, W, J], prediction [B, J] -> choices [B, W, 2], scores [B, W, 3]

The joint of a transducer is a function of two projections. Where both first meet in one node, the graph falls apart:
what depends on the encoder alone runs once for all frames, what depends on the label alone runs once a token, and only
the rest runs each step. The cut follows dependencies, not names, so it serves float and 8-bit graphs alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tdt.errors import ModelError, ModelFileCorruptError, ModelMismatchError, UnsupportedLayoutError
from tdt.onnxfile import MALFORMED, StructureError, load_model
from tdt.surgery.opsets import in_one_opset
from tdt.surgery.weight_only import dequantize_weights

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import onnx

    from tdt.spec import ModelFiles, ModelSpec


@dataclass(frozen=True, slots=True)
class Networks:
    """The three networks as serialised graphs.

    Parameters
    ----------
    projector, predictor, joint : bytes
    coupled : bool
        Whether rows of a batch influence each other, as dynamic quantisation over a whole tensor makes them.
    """

    projector: bytes
    predictor: bytes
    joint: bytes
    coupled: bool


def cut_decoder(files: ModelFiles, spec: ModelSpec) -> Networks:
    """Cut a model's decoder graphs into the three networks.

    Raises
    ------
    UnsupportedLayoutError
        Where the two sides of the joint do not meet in exactly one node.
    ModelMismatchError
        Where the graphs have other ports than a TDT decoder.
    ModelError
        Where a file cannot be read.
    """
    if files.decoder_joint is not None:
        path = files.decoder_joint
        joint = _prepared(path, 5)
        encoder_input, targets, _, hidden, cell = (port.name for port in joint.graph.input)
        logits, _, next_hidden, next_cell = (port.name for port in joint.graph.output)
        label_inputs, network, prefix = {targets, hidden, cell}, joint, ""
    else:
        assert files.decoder is not None
        assert files.joiner is not None
        path = files.joiner
        joint, network = in_one_opset(_prepared(path, 2), _prepared(files.decoder, 4), path)
        prefix = "predictor/"
        encoder_input, joint_prediction = (port.name for port in joint.graph.input)
        logits, label_inputs = joint.graph.output[0].name, {joint_prediction}
        targets, _, hidden, cell = (prefix + port.name for port in network.graph.input)
        prediction, _, next_hidden, next_cell = (prefix + port.name for port in network.graph.output)
    encoder_side, label_side = _meeting_point(joint, encoder_input, label_inputs, path)

    graph = _Parts(joint)
    if network is not joint:
        graph.absorb(network, prefix, {prediction: joint_prediction})
    types = _element_types(network)
    return Networks(
        _projector(graph, spec, encoder_input, encoder_side),
        _predictor(graph, spec, (targets, hidden, cell), types, (label_side, next_hidden, next_cell)),
        _joint(graph, spec, encoder_side, label_side, logits),
        coupled=any(node.op_type == "DynamicQuantizeLinear" for node in graph.nodes),
    )


def _prepared(path: Path, inputs: int) -> onnx.ModelProto:
    model = load_model(path)
    try:
        dequantize_weights(model)
    except (StructureError, *MALFORMED) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelFileCorruptError(path, f"its weights or nodes are malformed ({error})") from error
    weights = {tensor.name for tensor in model.graph.initializer}
    ports = [port for port in model.graph.input if port.name not in weights]
    outputs = {5: 4, 4: 4, 2: 1}[inputs]
    if len(ports) != inputs or len(model.graph.output) < outputs:
        found = f"{len(ports)} inputs and {len(model.graph.output)} outputs"
        raise ModelMismatchError(f"{path} has {found}; a TDT decoder graph of this kind has {inputs} and {outputs}.")
    del model.graph.input[:]
    model.graph.input.extend(ports)
    return model


def _element_types(network: onnx.ModelProto) -> tuple[int, int]:
    """Return the element types of the label and of the states."""
    types = [port.type.tensor_type.elem_type for port in network.graph.input]
    return types[-4], types[-1]


def _meeting_point(model: onnx.ModelProto, encoder_input: str, label_inputs: set[str], path: Path) -> tuple[str, str]:
    """Return the two tensors that the one node joins which first sees both sides."""
    origin: dict[str, int] = {encoder_input: 1, **dict.fromkeys(label_inputs, 2)}
    meetings = []
    for node in model.graph.node:
        sides = {origin.get(name, 0) for name in node.input}
        reached = 0
        for side in sides:
            reached |= side
        if 3 not in sides and reached == 3:
            meetings.append(node)
        origin.update(dict.fromkeys(node.output, reached))
    if len(meetings) != 1:
        raise UnsupportedLayoutError(
            f"{path}: encoder and prediction network meet in {len(meetings)} nodes of the joint; expected one, as NeMo "
            "exports it. This joint cannot be run step by step."
        )
    by_side = {origin.get(name, 0): name for name in meetings[0].input}
    return by_side[1], by_side[2]


class _Parts:
    """Nodes and weights to cut from.

    Parameters
    ----------
    model : onnx.ModelProto
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes: list[onnx.NodeProto] = list(model.graph.node)
        self.weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self.opsets = {entry.domain: entry.version for entry in model.opset_import}
        self.ir_version = model.ir_version

    def absorb(self, model: onnx.ModelProto, prefix: str, joints: dict[str, str]) -> None:
        """Add another graph of the same operator set, names prefixed; `joints`: its outputs → inputs of this."""
        import onnx

        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        for node in copy.graph.node:
            node.name = prefix + node.name if node.name else ""
            for names in (node.input, node.output):
                names[:] = [joints.get(prefix + name, prefix + name) if name else "" for name in names]
        for tensor in copy.graph.initializer:
            tensor.name = prefix + tensor.name
        self.nodes = [*copy.graph.node, *self.nodes]
        self.weights |= {tensor.name: tensor for tensor in copy.graph.initializer}
        self.opsets |= {entry.domain: entry.version for entry in copy.opset_import}
        self.ir_version = max(self.ir_version, copy.ir_version)

    def model(
        self,
        inputs: Sequence[onnx.ValueInfoProto],
        outputs: Sequence[onnx.ValueInfoProto],
        extra: Sequence[onnx.NodeProto],
        constants: Iterable[onnx.TensorProto] = (),
    ) -> bytes:
        """Serialise the part of the graph that `outputs` need; `extra` nodes tie its ports to the cut."""
        from onnx import helper

        given = {port.name for port in inputs}
        added = {tensor.name: tensor for tensor in constants}
        producers = {name: node for node in (*self.nodes, *extra) for name in node.output if name}
        kept: dict[int, onnx.NodeProto] = {}
        weights: dict[str, onnx.TensorProto] = {}
        pending = [port.name for port in outputs]
        while pending:
            name = pending.pop()
            if name in given or not name:
                continue
            if name in added or name in self.weights:
                weights[name] = added.get(name) or self.weights[name]
            elif name not in producers:
                raise UnsupportedLayoutError(f"The decoder graph needs {name!r}, which nothing in it makes.")
            elif id(producers[name]) not in kept:
                kept[id(producers[name])] = producers[name]
                pending.extend(producers[name].input)
        heads = [node for node in extra if node.input[0] in given]
        tails = [node for node in extra if node.input[0] not in given]
        order = [node for node in (*heads, *self.nodes, *tails) if id(node) in kept]
        graph = helper.make_graph(order, "part", list(inputs), list(outputs), list(weights.values()))
        opsets = [helper.make_opsetid(domain, version) for domain, version in self.opsets.items()]
        return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=self.ir_version).SerializeToString())


def _port(name: str, shape: Sequence[int | str], element_type: int = 1) -> onnx.ValueInfoProto:
    from onnx import helper

    return helper.make_tensor_value_info(name, element_type, list(shape))


def _shape_constant(name: str, values: Sequence[int]) -> onnx.TensorProto:
    import numpy as np
    from onnx import numpy_helper

    return numpy_helper.from_array(np.array(values, np.int64), name)


def _projector(graph: _Parts, spec: ModelSpec, encoder_input: str, encoder_side: str) -> bytes:
    from onnx import helper

    extra = [
        helper.make_node("Transpose", ["frames"], [encoder_input], perm=[0, 2, 1]),
        helper.make_node("Reshape", [encoder_side, "flat"], ["projected"]),
    ]
    inputs = [_port("frames", ["B", "T", spec.encoder_dim])]
    return graph.model(inputs, [_port("projected", ["B", "T", "J"])], extra, [_shape_constant("flat", [0, 0, -1])])


def _predictor(
    graph: _Parts, spec: ModelSpec, inputs: tuple[str, str, str], types: tuple[int, int], outputs: tuple[str, str, str]
) -> bytes:
    from onnx import helper

    names = ("label", "hidden", "cell")
    extra = [helper.make_node("Identity", [ours], [theirs]) for ours, theirs in zip(names, inputs, strict=True)]
    extra += [
        helper.make_node("Reshape", [outputs[0], "flat"], ["prediction"]),
        helper.make_node("Identity", [outputs[1]], ["next_hidden"]),
        helper.make_node("Identity", [outputs[2]], ["next_cell"]),
    ]
    state: list[int | str] = [spec.predictor_layers, "B", spec.predictor_hidden]
    return graph.model(
        [_port("label", ["B", 1], types[0]), _port("hidden", state, types[1]), _port("cell", state, types[1])],
        [_port("prediction", ["B", "J"]), _port("next_hidden", state), _port("next_cell", state)],
        extra,
        [_shape_constant("flat", [0, -1])],
    )


def _joint(graph: _Parts, spec: ModelSpec, encoder_side: str, label_side: str, logits: str) -> bytes:
    from onnx import helper

    from tdt.surgery.joint_head import head_nodes

    extra = [
        helper.make_node("Unsqueeze", ["window", "axis_two"], [encoder_side]),
        helper.make_node("Unsqueeze", ["prediction", "axes_middle"], [label_side]),
        helper.make_node("Reshape", [logits, "rows"], ["logits"]),
    ]
    nodes, constants = head_nodes("logits", len(spec.pieces), graph.opsets[""])
    constants = [
        *constants,
        _shape_constant("axis_two", [2]),
        _shape_constant("axes_middle", [1, 2]),
        _shape_constant("rows", [0, 0, -1]),
    ]
    return graph.model(
        [_port("window", ["B", "W", "J"]), _port("prediction", ["B", "J"])],
        [_port("choices", ["B", "W", 2], 7), _port("scores", ["B", "W", 3])],
        [*extra, *nodes],
        constants,
    )
