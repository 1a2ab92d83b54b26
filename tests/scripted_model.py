"""Models whose joint says what a table says: the loop can be tested through real sessions, with any logits.

`table[utterance, frame, emitted]` is the row of logits at a frame after so many tokens. The graphs have the ports and
the shape of the published ones; the prediction network counts the labels it was fed, blanks (start of sequence) apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tdt.spec import ModelFiles, ModelSpec
from tdt.stages import Encoded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tdt.spec import Layout

FLOAT, INT32, INT64 = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64


def write(folder: Path, table: np.ndarray, durations: Sequence[int], layout: Layout, **spec: int) -> tuple:
    """Write a scripted model; returns (ModelFiles, ModelSpec). `table` is [utterances, frames, emitted, V + N]."""
    classes = table.shape[-1] - len(durations)
    network, joint = _network_nodes(classes - 1), _joint_nodes()
    rows = numpy_helper.from_array(table.reshape(-1, table.shape[-1]).astype(np.float32), "table")
    logits = _port("outputs", ["B", "T", "U", table.shape[-1]])
    labels = [_port("targets", ["B", "U"], INT32), _port("target_length", ["B"], INT32)]
    labels += [_port("h", [1, "B", 1]), _port("c", [1, 1, 1] if layout == "sherpa-onnx" else [1, "B", 1])]
    after = [_port("lengths_out", ["B"], INT32), _port("h_out", [1, "B", 1]), _port("c_out", [1, "B", 1])]
    frames = _port("encoder_outputs", ["B", 1, "T"])
    vocabulary = folder / "vocab.txt"
    common = {"folder": folder, "encoder": folder / "encoder.onnx", "vocabulary": vocabulary, "layout": layout}
    if layout == "onnx-asr":
        path = _save(folder / "decoder_joint.onnx", [*network, *joint], [frames, *labels], [logits, *after], [rows])
        files = ModelFiles(**common, decoder_joint=path)
    else:
        prediction = _port("decoder_outputs", ["B", 1, "U"])
        decoder = _save(folder / "decoder.onnx", network, labels, [prediction, *after])
        joiner = _save(folder / "joiner.onnx", joint, [frames, prediction], [logits], [rows])
        files = ModelFiles(**common, decoder=decoder, joiner=joiner)
    pieces = (*tuple(f"▁{index}" for index in range(classes - 1)), "<blk>")
    return files, ModelSpec("scripted", 80, 8, 1, pieces, classes - 1, tuple(durations), 1, 1, **spec)


def encode(table: np.ndarray, lengths: Sequence[int], first_frames: Sequence[int] | None = None) -> Encoded:
    """Return frames that point into the table, from `first_frames` of each utterance on."""
    utterances, total, emitted = table.shape[:3]
    first = np.zeros(utterances, int) if first_frames is None else np.array(first_frames)
    frames = np.arange(max(total, 1))[None] + first[:, None]
    pointers = (np.arange(utterances)[:, None] * total + np.minimum(frames, total - 1)) * emitted
    return Encoded(pointers[:, : max(lengths, default=0), None].astype(np.float32), np.array(lengths, np.int64))


def _port(name: str, shape: Sequence[int | str], kind: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, list(shape))


def _network_nodes(blank: int) -> list[onnx.NodeProto]:
    node = helper.make_node
    return [
        node("Constant", [], ["blank"], value=numpy_helper.from_array(np.array(blank, np.int32))),
        node("Constant", [], ["axis"], value=numpy_helper.from_array(np.array([2]))),
        node("Equal", ["targets", "blank"], ["is_blank"]),
        node("Not", ["is_blank"], ["is_token"]),
        node("Cast", ["is_token"], ["one"], to=FLOAT),
        node("Transpose", ["one"], ["one_t"], perm=[1, 0]),
        node("Unsqueeze", ["one_t", "axis"], ["one_tbc"]),
        node("Add", ["h", "one_tbc"], ["h_out"]),
        node("Identity", ["c"], ["c_out"]),
        node("Identity", ["target_length"], ["lengths_out"]),
        node("Transpose", ["h_out"], ["decoder_outputs"], perm=[1, 2, 0]),
    ]


def _joint_nodes() -> list[onnx.NodeProto]:
    node = helper.make_node
    return [
        node("Constant", [], ["axis_two"], value=numpy_helper.from_array(np.array([2]))),
        node("Constant", [], ["axis_one"], value=numpy_helper.from_array(np.array([1]))),
        node("Constant", [], ["axis_last"], value=numpy_helper.from_array(np.array([3]))),
        node("Transpose", ["encoder_outputs"], ["frames_btd"], perm=[0, 2, 1]),
        node("Unsqueeze", ["frames_btd", "axis_two"], ["frames_side"]),
        node("Transpose", ["decoder_outputs"], ["labels_bud"], perm=[0, 2, 1]),
        node("Unsqueeze", ["labels_bud", "axis_one"], ["labels_side"]),
        node("Add", ["frames_side", "labels_side"], ["pointer"]),
        node("Cast", ["pointer"], ["pointer_int"], to=INT64),
        node("Squeeze", ["pointer_int", "axis_last"], ["index"]),
        node("Gather", ["table", "index"], ["outputs"], axis=0),
    ]


def _save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: Sequence[onnx.TensorProto] = (),
) -> Path:
    graph = helper.make_graph(list(nodes), "scripted", list(inputs), list(outputs), list(weights))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
