"""Small models with random weights, written in both published layouts from one set of weights.

The decoders have the operators of NeMo's exports; the encoder is a masked strided-convolution front end with the same
ports, lengths and position table. `write(folder, shape, layout)` is the entry point; see :class:`Shape` for the knobs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from pathlib import Path

LAYOUTS = ("onnx-asr", "sherpa-onnx")


@dataclass(frozen=True)
class Shape:
    """The numbers of a synthetic model.

    `vocab` counts the pieces without the blank; `positions` is the reach of the position table in encoder frames (None:
    no table); `masked=False` makes an encoder whose padding leaks, as exports of NeMo <= 2.4 do; `named_durations`
    writes the table into the metadata (otherwise it has to be given); `blank_bias` makes blanks more or less frequent.
    """

    n_mels: int = 80
    subsampling: int = 8
    encoder_dim: int = 32
    hidden: int = 24
    layers: int = 1
    joint: int = 28
    vocab: int = 1000
    durations: tuple[int, ...] = (0, 1, 2, 3, 4)
    positions: int | None = 400
    masked: bool = True
    named_durations: bool = False
    normalize: str | None = "per_feature"
    blank_bias: float = 18.0
    seed: int = 7

    @property
    def width(self) -> int:
        return self.vocab + 1 + len(self.durations)


def weights(shape: Shape) -> dict[str, np.ndarray]:
    """Return the model's weights by name; both layouts are built from these."""
    rng = np.random.default_rng(shape.seed)

    def normal(*size: int, scale: float) -> np.ndarray:
        return (rng.standard_normal(size) * scale).astype(np.float32)

    out: dict[str, np.ndarray] = {}
    channels = shape.n_mels
    for index in range(shape.subsampling.bit_length() - 1):
        out[f"conv.{index}"] = normal(shape.encoder_dim, channels, 3, scale=(1.5 / channels) ** 0.5)
        channels = shape.encoder_dim
    out["project"] = normal(channels, shape.encoder_dim, scale=(0.6 / channels) ** 0.5)
    if shape.positions is not None:
        out["positions"] = normal(1, 2 * shape.positions - 1, shape.encoder_dim, scale=0.2)
    out["embed"] = normal(shape.vocab + 1, shape.hidden, scale=1.0)
    out["embed"][-1] = 0  # blank_as_pad
    for layer in range(shape.layers):
        out[f"lstm.{layer}.w"] = normal(1, 4 * shape.hidden, shape.hidden, scale=shape.hidden**-0.5)
        out[f"lstm.{layer}.r"] = normal(1, 4 * shape.hidden, shape.hidden, scale=shape.hidden**-0.5)
        out[f"lstm.{layer}.b"] = normal(1, 8 * shape.hidden, scale=0.1)
    out["enc.w"] = normal(shape.encoder_dim, shape.joint, scale=1.5 * shape.encoder_dim**-0.5)
    out["enc.b"] = normal(shape.joint, scale=0.1)
    out["pred.w"] = normal(shape.hidden, shape.joint, scale=2 * shape.hidden**-0.5)
    out["pred.b"] = normal(shape.joint, scale=0.1)
    out["out.w"] = normal(shape.joint, shape.width, scale=1.0)
    out["out.b"] = normal(shape.width, scale=0.3)
    out["out.b"][shape.vocab] += shape.blank_bias
    out["out.b"][shape.vocab + 1 : shape.vocab + 2] -= 1  # duration 0 stays, but is not the rule
    return out


def pieces(shape: Shape) -> list[str]:
    """Return distinct pieces, the blank last; the first is `<unk>`, some are punctuation, every third starts a word."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    out = ["<unk>", ".", ",", "?", "'"][: shape.vocab]
    number = 0
    while len(out) < shape.vocab:
        word, rest = "", number
        while True:
            word += letters[rest % 26]
            rest //= 26
            if rest == 0:
                break
        out.append(("▁" if number % 3 == 0 else "") + word)
        number += 1
    return [*out, "<blk>"]


class Graph:
    """Collects nodes and weights of one graph."""

    def __init__(self, values: dict[str, np.ndarray]) -> None:
        self.values = values
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.count = 0

    def weight(self, name: str) -> str:
        self.initializers[name] = numpy_helper.from_array(self.values[name], name)
        return name

    def constant(self, value: Any) -> str:
        name = f"constant_{self.count}"
        self.count += 1
        self.nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value))))
        return name

    def add(self, op: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        name = output or f"{op.lower()}_{self.count}"
        self.count += 1
        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name

    def model(self, name: str, inputs: list[Any], outputs: list[Any], metadata: dict[str, str] | None = None) -> Any:
        def ports(listed: list[Any]) -> list[onnx.ValueInfoProto]:
            return [helper.make_tensor_value_info(*port) for port in listed]

        graph = helper.make_graph(self.nodes, name, ports(inputs), ports(outputs), list(self.initializers.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        if metadata:
            helper.set_model_props(model, metadata)
        return model


def encoder_model(shape: Shape, values: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> Any:
    graph = Graph(values)
    one, two = graph.constant(np.array([1], np.int64)), graph.constant(np.array([2], np.int64))
    frames, length = "audio_signal", "length"
    for index in range(shape.subsampling.bit_length() - 1):
        conv = graph.add("Conv", [frames, graph.weight(f"conv.{index}")], kernel_shape=[3], strides=[2], pads=[1, 1])
        length = graph.add("Div", [graph.add("Add", [length, one]), two])
        frames = graph.add("Relu", [conv])
        if shape.masked:
            frames = _mask(graph, frames, length)
    rows = graph.add("Transpose", [frames], perm=[0, 2, 1])
    rows = graph.add("MatMul", [rows, graph.weight("project")])
    if shape.positions is not None:
        total = graph.add("Gather", [graph.add("Shape", [rows]), one], axis=0)
        middle = graph.constant(np.array([shape.positions - 1], np.int64))
        table = graph.constant(values["positions"])
        sliced = graph.add("Slice", [table, middle, graph.add("Add", [middle, total]), one])
        rows = graph.add("Add", [rows, sliced])
    graph.add("Transpose", [rows], "outputs", perm=[0, 2, 1])
    graph.add("Identity", [length], "encoded_lengths")
    f, i = TensorProto.FLOAT, TensorProto.INT64
    return graph.model(
        "encoder",
        [("audio_signal", f, ["batch", shape.n_mels, "time"]), ("length", i, ["batch"])],
        [("outputs", f, ["batch", shape.encoder_dim, "frames"]), ("encoded_lengths", i, ["batch"])],
        metadata,
    )


def _mask(graph: Graph, frames: str, length: str) -> str:
    zero, one, axis_two = graph.constant(np.int64(0)), graph.constant(np.int64(1)), graph.constant(np.int64(2))
    total = graph.add("Gather", [graph.add("Shape", [frames]), axis_two], axis=0)
    steps = graph.add("Range", [zero, total, one])
    column = graph.add("Unsqueeze", [length, graph.constant(np.array([1], np.int64))])
    valid = graph.add("Cast", [graph.add("Less", [steps, column])], to=TensorProto.FLOAT)
    return graph.add("Mul", [frames, graph.add("Unsqueeze", [valid, graph.constant(np.array([1], np.int64))])])


def _predictor(graph: Graph, shape: Shape, states: tuple[str, str], new_states: tuple[str, str]) -> str:
    """Add the prediction network; returns its output as [U, B, H]."""
    ids = graph.add("Cast", ["targets"], to=TensorProto.INT64)
    rows = graph.add("Transpose", [graph.add("Gather", [graph.weight("embed"), ids])], perm=[1, 0, 2])
    lasts: list[tuple[str, str]] = []
    for layer in range(shape.layers):
        start = states if shape.layers == 1 else tuple(_slice(graph, state, layer) for state in states)
        names = [f"lstm_{layer}_{part}" for part in ("y", "h", "c")]
        if shape.layers == 1:
            names[1:] = new_states
        parameters = [graph.weight(f"lstm.{layer}.{part}") for part in ("w", "r", "b")]
        graph.nodes.append(helper.make_node("LSTM", [rows, *parameters, "", *start], names, hidden_size=shape.hidden))
        rows = graph.add("Squeeze", [names[0], graph.constant(np.array([1], np.int64))])
        lasts.append((names[1], names[2]))
    if shape.layers > 1:
        for position, name in enumerate(new_states):
            graph.add("Concat", [last[position] for last in lasts], name, axis=0)
    graph.add("Identity", ["target_length"], "prednet_lengths")
    return rows


def _slice(graph: Graph, state: str, layer: int) -> str:
    axis, start, stop = (graph.constant(np.array([value], np.int64)) for value in (0, layer, layer + 1))
    return graph.add("Slice", [state, start, stop, axis])


def _joint(graph: Graph, predicted: str) -> None:
    """Add the joint network; `predicted` is [B, U, H]."""
    encoded = graph.add("Transpose", ["encoder_outputs"], perm=[0, 2, 1])
    encoded = graph.add("Add", [graph.weight("enc.b"), graph.add("MatMul", [encoded, graph.weight("enc.w")])])
    rows = graph.add("Add", [graph.weight("pred.b"), graph.add("MatMul", [predicted, graph.weight("pred.w")])])
    encoded = graph.add("Unsqueeze", [encoded, graph.constant(np.array([2], np.int64))])
    rows = graph.add("Unsqueeze", [rows, graph.constant(np.array([1], np.int64))])
    active = graph.add("Relu", [graph.add("Add", [encoded, rows])])
    graph.add("Add", [graph.weight("out.b"), graph.add("MatMul", [active, graph.weight("out.w")])], "outputs")


def _decoder_ports(shape: Shape, names: tuple[str, str], *, cell_batch: int | str) -> list[Any]:
    f, i = TensorProto.FLOAT, TensorProto.INT32
    return [
        ("targets", i, ["batch", "labels"]),
        ("target_length", i, ["batch"]),
        (names[0], f, [shape.layers, "batch", shape.hidden]),
        (names[1], f, [shape.layers, cell_batch, shape.hidden]),
    ]


def decoder_joint_model(shape: Shape, values: dict[str, np.ndarray]) -> Any:
    graph = Graph(values)
    states, new_states = ("input_states_1", "input_states_2"), ("output_states_1", "output_states_2")
    rows = _predictor(graph, shape, states, new_states)
    _joint(graph, graph.add("Transpose", [rows], perm=[1, 0, 2]))
    f, i = TensorProto.FLOAT, TensorProto.INT32
    inputs = [("encoder_outputs", f, ["batch", shape.encoder_dim, "frames"])]
    inputs += _decoder_ports(shape, states, cell_batch="batch")
    outputs: list[Any] = [("outputs", f, ["b", "t", "u", shape.width]), ("prednet_lengths", i, ["batch"])]
    outputs += [(name, f, [shape.layers, "batch", shape.hidden]) for name in new_states]
    return graph.model("decoder_joint", inputs, outputs)


def decoder_model(shape: Shape, values: dict[str, np.ndarray]) -> Any:
    """The split prediction network; the second state has the constant batch of 1 that tracing leaves."""
    graph = Graph(values)
    states = ("states.1", "onnx::LSTM_3" if shape.layers == 1 else "onnx::Slice_3")
    new_states = ("states", "74" if shape.layers == 1 else "162")
    rows = _predictor(graph, shape, states, new_states)
    graph.add("Transpose", [rows], "outputs", perm=[1, 2, 0])
    f, i = TensorProto.FLOAT, TensorProto.INT32
    outputs: list[Any] = [("outputs", f, ["batch", shape.hidden, "labels"]), ("prednet_lengths", i, ["batch"])]
    outputs += [(name, f, [shape.layers, "batch", shape.hidden]) for name in new_states]
    return graph.model("decoder", _decoder_ports(shape, states, cell_batch=1), outputs)


def joiner_model(shape: Shape, values: dict[str, np.ndarray]) -> Any:
    graph = Graph(values)
    _joint(graph, graph.add("Transpose", ["decoder_outputs"], perm=[0, 2, 1]))
    f = TensorProto.FLOAT
    inputs = [("encoder_outputs", f, ["b", shape.encoder_dim, "t"]), ("decoder_outputs", f, ["b", shape.hidden, "u"])]
    return graph.model("joiner", inputs, [("outputs", f, ["b", "t", "u", shape.width])])


def sherpa_metadata(shape: Shape) -> dict[str, str]:
    metadata = {
        "vocab_size": str(shape.vocab),
        "pred_rnn_layers": str(shape.layers),
        "pred_hidden": str(shape.hidden),
        "subsampling_factor": str(shape.subsampling),
        "model_type": "EncDecRNNTBPEModel",
        "version": "2",
        "url": "synthetic",
    }
    if shape.normalize is not None:
        metadata["normalize_type"] = shape.normalize
    if shape.n_mels != 80:
        metadata["feat_dim"] = str(shape.n_mels)
    if shape.named_durations:
        metadata["durations"] = ",".join(map(str, shape.durations))
    return metadata


def write(folder: Path, shape: Shape | None = None, layout: str = "onnx-asr", *, external: bool = False) -> Path:
    """Write a model and return its folder; with `external`, every weight of the encoder lies in a file of its own."""
    shape = shape or Shape()
    values = weights(shape)
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{piece} {index}\n" for index, piece in enumerate(pieces(shape)))
    if layout == "onnx-asr":
        save(
            encoder_model(shape, values), folder / "encoder-model.onnx", "encoder-model.onnx.data" if external else None
        )
        save(decoder_joint_model(shape, values), folder / "decoder_joint-model.onnx")
        (folder / "vocab.txt").write_text(lines, encoding="utf-8")
        config: dict[str, Any] = {
            "model_type": "nemo-conformer-tdt",
            "features_size": shape.n_mels,
            "subsampling_factor": shape.subsampling,
        }
        if shape.named_durations:
            config["durations"] = list(shape.durations)
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return folder
    encoder = encoder_model(shape, values, sherpa_metadata(shape))
    save(encoder, folder / "encoder.onnx", "encoder.weights" if external else None)
    save(decoder_model(shape, values), folder / "decoder.onnx")
    save(joiner_model(shape, values), folder / "joiner.onnx")
    (folder / "tokens.txt").write_text(lines, encoding="utf-8")
    return folder


def save(model: Any, path: Path, location: str | None = None) -> None:
    """Save a graph; with `location`, its weights go to that file beside it."""
    if location is None:
        onnx.save_model(model, str(path))
        return
    onnx.save_model(model, str(path), save_as_external_data=True, location=location, size_threshold=0)


def quantize(folder: Path) -> None:
    """Add dynamically quantised copies of every graph in `folder`, named and typed as the published ones are."""
    import logging

    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.getLogger("root").setLevel(logging.ERROR)
    for path in [path for path in folder.glob("*.onnx") if "int8" not in path.name]:
        kind = QuantType.QUInt8 if path.name.startswith("encoder") else QuantType.QInt8
        quantize_dynamic(str(path), str(path.with_suffix(".int8.onnx")), weight_type=kind)
