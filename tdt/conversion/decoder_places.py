"""Where the weights of prediction network and joint are, found from the graphs' outputs backwards.

The walk is that of the native decoder (`tdt.surgery.lifting`), which takes the weights out; this one says where new
ones go in.

Source: NeMo 3.0.0 `asr/modules/rnnt.py` (`RNNTDecoder`, `RNNTJoint`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.conversion.recipes import Recipe
from tdt.conversion.tracing import Found, Place, Tracer
from tdt.onnxfile import StructureError

if TYPE_CHECKING:
    import onnx

    from tdt.surgery import EditableGraph

MOST_LAYERS = 64
_LSTM = "decoder.prediction.dec_rnn.lstm"


def joint_places(graph: EditableGraph) -> Found:
    """Find the joint's weights; the source is the value that the prediction network hands to it, time before width.

    Raises
    ------
    StructureError
        Where it is not two projections, their sum, ReLU and an output layer.
    """
    trace = Tracer(graph)
    output = trace.linear(trace.outputs[0], "joint.joint_net.2")
    relu = trace.maker(trace.strip(output.source))
    if relu.op_type != "Relu":
        raise StructureError(f"the joint's activation is {relu.op_type}, not Relu")
    total = trace.maker(trace.strip(relu.input[0]))
    if total.op_type != "Add":
        raise StructureError("the joint does not add two projections")
    encoder = [trace.strip(trace.linear(side, "joint.enc").source) == trace.inputs[0] for side in total.input]
    if sorted(encoder) != [False, True]:
        raise StructureError("the joint's projections do not start from the encoder's frames and the prediction")
    sides = [
        trace.linear(side, "joint.enc" if is_encoder else "joint.pred")
        for side, is_encoder in zip(total.input, encoder, strict=True)
    ]
    places = (*sides[0].places, *sides[1].places, *output.places)
    return Found(places, sides[encoder.index(False)].source)


def predictor_places(graph: EditableGraph, top: str) -> tuple[tuple[Place, ...], int]:
    """Find the prediction network's weights below the value `top`; returns them and the number of its LSTM layers.

    Raises
    ------
    StructureError
        Where it is not an embedding and LSTM layers.
    """
    trace = Tracer(graph)
    nodes: list[onnx.NodeProto] = []
    name = trace.strip(top)
    while trace.op(name) == "LSTM":
        if len(nodes) == MOST_LAYERS:
            raise StructureError(f"more than {MOST_LAYERS} LSTM layers")
        node = trace.maker(name)
        if node.output[0] != name or len(node.input) < 4 or not all(map(trace.constant, node.input[1:4])):
            raise StructureError("an LSTM whose output is not read, or whose weights are not constant")
        nodes.append(node)
        name = trace.strip(node.input[0])
    lookup = trace.maker(name)
    if not nodes or lookup.op_type != "Gather" or not trace.constant(lookup.input[0]):
        raise StructureError(f"a {lookup.op_type} node stands where the LSTM or the embedding is expected")
    places = [Place(lookup, 0, Recipe("plain", ("decoder.prediction.embed.weight",)))]
    for layer, node in enumerate(reversed(nodes)):
        places += [
            Place(node, 1, Recipe("gates", (f"{_LSTM}.weight_ih_l{layer}",))),
            Place(node, 2, Recipe("gates", (f"{_LSTM}.weight_hh_l{layer}",))),
            Place(node, 3, Recipe("gate biases", (f"{_LSTM}.bias_ih_l{layer}", f"{_LSTM}.bias_hh_l{layer}"))),
        ]
    return tuple(places), len(nodes)
