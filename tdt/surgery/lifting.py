"""Take the weights of prediction network and joint out of the ONNX graphs, by structure and not by name.

The walk starts at the graph outputs and goes back: output layer, ReLU, sum of two projections, LSTM layers, embedding.
Fused (onnx-asr) and split (sherpa-onnx) layouts, any number of layers, floating point or quantised in any form that
:mod:`tdt.onnxfile.layers` reads. Where the graphs round activations, the roundings are lifted too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.errors import ModelError, ModelMismatchError, UnrecognizedGraphError
from tdt.onnxfile import MALFORMED, Linear, Rounding, StructureError, Walker, load_model, rounded
from tdt.surgery.decoder_weights import DecoderWeights, LstmLayer, Roundings

if TYPE_CHECKING:
    import numpy.typing as npt

    from tdt.spec import ModelFiles, ModelSpec
    from tdt.surgery.decoder_weights import Steps

    Float32 = npt.NDArray[np.float32]

_LSTM_OPS = frozenset({"LSTM", "DynamicQuantizeLSTM"})
_PLAIN_ACTIVATIONS: tuple[list[bytes], ...] = ([], [b"Sigmoid", b"Tanh", b"Tanh"])


def lift(files: ModelFiles, spec: ModelSpec) -> DecoderWeights:
    """Read the decoder's weights.

    Raises
    ------
    UnrecognizedGraphError
        Where the graphs are built in another way than NeMo's exporters build them.
    ModelMismatchError
        Where the sizes contradict the model's vocabulary or encoder.
    ModelError
        Where a file cannot be read.
    """
    path = files.decoder_joint or files.joiner or files.encoder
    try:
        return _lifted(files, spec)
    except ModelError:
        raise
    except MALFORMED as error:
        raise UnrecognizedGraphError(path, f"it is malformed ({type(error).__name__}: {error})") from error


def _lifted(files: ModelFiles, spec: ModelSpec) -> DecoderWeights:
    if files.decoder_joint is not None:
        joint = network = Walker(load_model(files.decoder_joint), files.decoder_joint)
    else:
        assert files.decoder is not None
        assert files.joiner is not None
        joint = Walker(load_model(files.joiner), files.joiner)
        network = Walker(load_model(files.decoder), files.decoder)
    current = joint
    try:
        encoder, predictor, output = _joint(joint)
        current = network
        top = predictor.source if joint is network else network.outputs[0]
        embedding, layers, states = _network(network, top)
    except StructureError as error:
        raise UnrecognizedGraphError(current.path, str(error)) from error
    roundings = _roundings((encoder, predictor, output), states, split=joint is not network)
    matrices = [output.matrix, encoder.matrix, predictor.matrix, *(m for x in layers for m in (x.inputs, x.recurrent))]
    in_bytes = not roundings.all() and all(matrix.levels is not None for matrix in matrices)
    weights = DecoderWeights(embedding, layers, encoder, predictor, output, in_bytes, roundings)
    _check(weights, spec, joint)
    return weights


def _roundings(linears: tuple[Linear, Linear, Linear], states: _States, *, split: bool) -> Roundings:
    encoder, predictor, output = linears
    return Roundings(
        frames=encoder.before,
        projected=encoder.after,
        layers=((), *states.entering[1:]),
        hidden=states.hidden,
        cell=states.cell,
        # In one graph, what lies between the last layer and the projection was met from either side.
        prediction=(*states.top, *predictor.before) if split else predictor.before,
        predicted=predictor.after,
        activation=output.before,
        logits=output.after,
        products=(encoder.between, predictor.between, output.between),
    )


def _joint(graph: Walker) -> tuple[Linear, Linear, Linear]:
    """Return encoder projection, prediction projection and output layer."""
    output = graph.linear(graph.outputs[0])
    source, late = graph.descend(output.source)
    node = graph.maker(source)
    early: Steps = ()
    if node is not None and node.op_type == "Relu":
        source, early = graph.descend(node.input[0])
    elif not (late and isinstance(late[0], Rounding) and late[0].low == late[0].zero):  # which clips at 0 as ReLU does
        raise StructureError(f"the joint's activation is {'missing' if node is None else node.op_type}, not Relu")
    total = graph.maker(source)
    if total is None or total.op_type != "Add":
        raise StructureError("the joint does not add two projections")
    output = replace(output, before=(*early, *output.before))
    sides = [graph.linear(name) for name in total.input]
    from_encoder = [graph.descend(side.source)[0] == graph.inputs[0] for side in sides]
    if from_encoder == [True, False]:
        return sides[0], sides[1], output
    if from_encoder == [False, True]:
        return sides[1], sides[0], output
    raise StructureError(f"the joint's projections do not start from the input {graph.inputs[0]!r} and the predictor")


@dataclass(frozen=True, slots=True)
class _States:
    """How the prediction network rounds: its output, what enters each layer, and what each carries."""

    top: Steps
    entering: tuple[Steps, ...]
    hidden: tuple[Steps, ...]
    cell: tuple[Steps, ...]


def _network(graph: Walker, top: str) -> tuple[Float32, tuple[LstmLayer, ...], _States]:
    """Walk from the top layer's output down to the embedding."""
    layers: list[LstmLayer] = []
    nodes: list[Any] = []
    leaving: list[Steps] = []
    value = top
    while True:
        name, steps = graph.descend(value)
        node = graph.maker(name)
        if node is None or node.op_type not in _LSTM_OPS:
            break
        if node.output[0] != name:
            raise StructureError("the joint reads an LSTM's state, not its output")
        layers.append(_lstm(graph, node))
        nodes.append(node)
        leaving.append(steps)
        value = node.input[0]
    if not layers:
        raise StructureError(
            f"the prediction network ends in {'an input' if node is None else node.op_type}, not an LSTM"
        )
    nodes.reverse()
    _check_states(graph, nodes)
    hidden, cell = (
        tuple(_carried(graph, name, node.output[place], index, len(nodes)) for index, node in enumerate(nodes))
        for place, name in enumerate(graph.outputs[-2:], 1)
    )
    states = _States(leaving[0], ((), *reversed(leaving[1:])), hidden, cell)
    return _embedding(graph, value), tuple(reversed(layers)), states


def _carried(graph: Walker, output: str, state: str, index: int, layers: int) -> Steps:
    """Return how the state of layer `index` is rounded on its way to a graph output."""
    if not graph.rounds:
        return ()
    name, together = graph.descend(output)
    alone: Steps = ()
    node = graph.maker(name)
    if node is not None and node.op_type == "Concat" and len(node.input) == layers:
        name, alone = graph.descend(node.input[index])
    if name != state:
        raise StructureError(f"the state of LSTM layer {index} is not what the graph puts out")
    return (*alone, *together)


def _lstm(graph: Walker, node: Any) -> LstmLayer:
    options = graph.attributes(node)
    unusual = (
        options.get("direction", b"forward") != b"forward"
        or options.get("activations", []) not in _PLAIN_ACTIVATIONS
        or options.get("input_forget", 0)
        or "clip" in options
        or options.get("layout", 0)
        or (len(node.input) > 7 and node.input[7] != "")
    )
    if unusual:
        raise StructureError("an LSTM with other options or peepholes")
    inputs, recurrent = graph.lstm_weights(node)
    biases = graph.constant(node.input[3]) if len(node.input) > 3 and node.input[3] else None
    rows = recurrent.values.shape[0]
    bias = np.zeros(2 * rows, np.float32) if biases is None else np.asarray(biases[0], np.float32)
    return LstmLayer(inputs, recurrent, bias[:rows] + bias[rows:])


def _check_states(graph: Walker, nodes: list[Any]) -> None:
    """Make sure that layer l starts from row l of the two state inputs, hidden first."""
    states = graph.inputs[-2:]
    for index, node in enumerate(nodes):
        for name, expected in zip(node.input[5:7], states, strict=True):
            source, row = _state_row(graph, name)
            if source != expected or (row is not None and row != index):
                raise StructureError(
                    f"LSTM layer {index} starts from {source!r} row {row}, not {expected!r} row {index}"
                )
            if row is None and len(nodes) > 1:
                raise StructureError("several LSTM layers share one state")


def _state_row(graph: Walker, name: str) -> tuple[str, int | None]:
    name = graph.strip(name)
    node = graph.maker(name)
    if node is None:
        return name, None
    if node.op_type in {"Slice", "Gather"} and len(node.input) > 1:
        start = graph.constant(node.input[1])
        if start is not None and start.size == 1:
            return graph.strip(node.input[0]), int(start.reshape(-1)[0])
    if node.op_type == "Split":
        return graph.strip(node.input[0]), list(node.output).index(name)
    raise StructureError(f"a {node.op_type} node makes an LSTM's first state")


def _embedding(graph: Walker, name: str) -> Float32:
    table = graph.gathered(name)
    if graph.strip(table.source) not in graph.inputs:
        raise StructureError("the embedding is not looked up by a graph input")
    return rounded(table.matrix.values, table.after)


def _check(weights: DecoderWeights, spec: ModelSpec, graph: Walker) -> None:
    """Compare all sizes with the model's numbers and refuse weights that are not finite."""
    hidden = weights.layers[0].recurrent.values.shape[1]
    joint = weights.output.matrix.values.shape[1]
    expected = [
        ("output rows", weights.output.matrix.values.shape[0], spec.blank_id + 1 + len(spec.durations)),
        ("embedding rows", weights.embedding.shape[0], spec.blank_id + 1),
        ("encoder projection", weights.encoder.matrix.values.shape, (joint, spec.encoder_dim)),
        ("prediction projection", weights.predictor.matrix.values.shape, (joint, hidden)),
        ("first layer's input", weights.layers[0].inputs.values.shape, (4 * hidden, weights.embedding.shape[1])),
    ]
    for index, layer in enumerate(weights.layers):
        expected.append((f"layer {index} recurrent", layer.recurrent.values.shape, (4 * hidden, hidden)))
        if index > 0:
            expected.append((f"layer {index} input", layer.inputs.values.shape, (4 * hidden, hidden)))
    for name, given, needed in expected:
        if given != needed:
            raise ModelMismatchError(
                f"{graph.path}: {name} are {given}, but the model's vocabulary, durations and encoder need {needed}. "
                "Put the files of one and the same model into the folder."
            )
    arrays = [weights.embedding, weights.output.matrix.values, weights.encoder.matrix.values]
    arrays += [array for layer in weights.layers for array in (layer.inputs.values, layer.recurrent.values, layer.bias)]
    arrays += [weights.predictor.matrix.values, weights.output.bias, weights.encoder.bias, weights.predictor.bias]
    if not all(np.isfinite(array).all() for array in arrays):
        raise UnrecognizedGraphError(graph.path, "some weights are not finite numbers")
