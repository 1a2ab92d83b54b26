"""The cut of the decoder graphs: the three networks together are the graph they came from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tdt.errors import ModelMismatchError, UnsupportedLayoutError
from tdt.model.finding import find_model
from tdt.runtime.backend import Backend
from tdt.runtime.session import Session
from tdt.surgery.networks import cut_decoder
from tdt.surgery.weight_only import dequantize_weights

from .. import naive, tiny_models

if TYPE_CHECKING:
    from pathlib import Path

SHAPES = {
    "one layer, 1k": tiny_models.Shape(layers=1, vocab=1000),
    "two layers, 8k": tiny_models.Shape(layers=2, vocab=8192),
    "three layers, long table": tiny_models.Shape(layers=3, vocab=60, durations=(0, 1, 2, 3, 4, 6, 8)),
    "one duration": tiny_models.Shape(layers=1, vocab=30, durations=(1,)),
}


def sessions(files: Any, spec: Any) -> tuple[Session, Session, Session]:
    networks = cut_decoder(files, spec)
    assert not networks.coupled
    return tuple(Session(part, Backend()) for part in (networks.projector, networks.predictor, networks.joint))  # type: ignore[return-value]


def uncut_logits(files: Any, frames: np.ndarray, label: np.ndarray, h: np.ndarray, c: np.ndarray) -> list[np.ndarray]:
    """Logits [B, T, K] and new states of the published graphs as they are."""
    ones = np.ones(len(label), np.int32)
    channels_first = np.ascontiguousarray(frames.transpose(0, 2, 1))
    if files.decoder_joint is not None:
        session = Session(files.decoder_joint, Backend())
        names = [port.name for port in session.inputs]
        feeds = dict(zip(names, (channels_first, label, ones, h, c), strict=True))
        logits, _, new_h, new_c = session.run(feeds)
        return [logits[:, :, 0], new_h, new_c]
    decoder, joiner = Session(files.decoder, Backend()), Session(files.joiner, Backend())
    names = [port.name for port in decoder.inputs]
    prediction, _, new_h, new_c = decoder.run(dict(zip(names, (label, ones, h, c), strict=True)))
    names = [port.name for port in joiner.inputs]
    (logits,) = joiner.run(dict(zip(names, (channels_first, prediction), strict=True)))
    return [logits[:, :, 0], new_h, new_c]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("layout", tiny_models.LAYOUTS)
def test_the_parts_give_what_the_graph_gives(
    tmp_path: Path, rng: np.random.Generator, shape: tiny_models.Shape, layout: str
) -> None:
    tiny_models.write(tmp_path, shape, layout)
    files, spec = find_model(tmp_path, durations=shape.durations)
    projector, predictor, joint = sessions(files, spec)
    frames = rng.standard_normal((1, 6, shape.encoder_dim)).astype(np.float32)
    h, c = (rng.standard_normal((shape.layers, 1, shape.hidden)).astype(np.float32) for _ in range(2))
    label = np.array([[5]], np.int32)
    logits, new_h, new_c = uncut_logits(files, frames, label, h, c)

    prediction, next_h, next_c = predictor.run({"label": label, "hidden": h, "cell": c})
    (projected,) = projector.run({"frames": frames})
    choices, scores = joint.run({"window": projected, "prediction": prediction})
    # The same products in the same order, but for fusions across the cut.
    np.testing.assert_allclose(next_h, new_h, atol=1e-6)
    np.testing.assert_allclose(next_c, new_c, atol=1e-6)
    classes = len(spec.pieces)
    for frame in range(6):
        row = logits[0, frame]
        assert choices[0, frame].tolist() == [int(row[:classes].argmax()), int(row[classes:].argmax())]
        logprobs = naive.log_softmax(row[:classes])
        assert scores[0, frame, 0] == pytest.approx(logprobs.max(), abs=1e-5)
        # A float32 sum over up to 8193 classes.
        assert scores[0, frame, 1] == pytest.approx((np.exp(logprobs) ** 0.33).sum(), rel=1e-5)
        assert scores[0, frame, 2] == pytest.approx(np.abs(row).sum(), rel=1e-5)


@pytest.mark.parametrize("layout", tiny_models.LAYOUTS)
def test_batches_of_any_size_run(tmp_path: Path, rng: np.random.Generator, layout: str) -> None:
    shape = tiny_models.Shape(layers=2, vocab=40)
    tiny_models.write(tmp_path, shape, layout)
    _, predictor, joint = sessions(*find_model(tmp_path))
    h, c = (rng.standard_normal((2, 3, shape.hidden)).astype(np.float32) for _ in range(2))
    label = np.array([[1], [2], [40]], np.int32)
    together = predictor.run({"label": label, "hidden": h, "cell": c})
    for row in range(3):
        alone = predictor.run({"label": label[[row]], "hidden": h[:, [row]], "cell": c[:, [row]]})
        np.testing.assert_allclose(together[0][row], alone[0][0], atol=1e-6)  # sums reordered by the batch
        np.testing.assert_allclose(together[1][:, row], alone[1][:, 0], atol=1e-6)
    window = rng.standard_normal((3, 4, shape.joint)).astype(np.float32)
    choices, _ = joint.run({"window": window, "prediction": together[0]})
    assert choices.shape == (3, 4, 2)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_tell_logits_that_are_not_finite(tmp_path: Path, value: float) -> None:
    tiny_models.write(tmp_path, tiny_models.Shape(vocab=30), "onnx-asr")
    _, _, joint = sessions(*find_model(tmp_path))
    window, prediction = np.zeros((1, 2, 28), np.float32), np.zeros((1, 28), np.float32)
    window[0, 1, 3] = value
    _, scores = joint.run({"window": window, "prediction": prediction})
    assert np.isfinite(scores[0, 0]).all()
    assert np.isfinite(scores[0, 1, 2]) == (value == -np.inf)  # ReLU turns minus infinity into 0


def test_eight_bit_weights_multiply_out_exactly(model_folder: Path) -> None:
    files, _ = find_model(model_folder, precision="int8")
    path = files.decoder_joint or files.joiner
    assert path is not None
    before, after = onnx.load(path), dequantize_weights(onnx.load(path))
    kinds = {node.op_type for node in after.graph.node}
    assert not kinds & {"MatMulInteger", "DynamicQuantizeLinear", "DynamicQuantizeLSTM"}
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in before.graph.initializer}
    floats = {tensor.name: numpy_helper.to_array(tensor) for tensor in after.graph.initializer}
    made = [name for name in floats if name.endswith("/floats")]
    assert len(made) == (7 if files.decoder_joint else 3)
    for name in made:
        stem = name.removesuffix("_quantized/floats")
        expected = (weights[f"{stem}_quantized"].astype(np.float32) - weights[f"{stem}_zero_point"]) * weights[
            f"{stem}_scale"
        ]
        lstm = "LSTM" in name
        np.testing.assert_array_equal(floats[name], expected.swapaxes(1, 2) if lstm else expected)


def test_eight_bit_weights_stay_near_the_float_ones(model_folder: Path, rng: np.random.Generator) -> None:
    frames = rng.standard_normal((1, 3, 144)).astype(np.float32)
    rows = []
    for precision in ("float32", "int8"):
        projector, _, _ = sessions(*find_model(model_folder, precision=precision))  # type: ignore[arg-type]
        rows.append(projector.run({"frames": frames})[0])
    assert np.abs(rows[0] - rows[1]).max() <= 0.02 * np.abs(rows[0]).max()  # half levels of 144 weights; seen: 0.0134


def edited(path: Path, target: Path, edit: Any) -> Path:
    model = onnx.load(path)
    edit(model.graph)
    onnx.save(model, target)
    return target


def test_a_joint_whose_sides_meet_twice_is_refused(models: Path, tmp_path: Path) -> None:
    files, spec = find_model(models / "sherpa-onnx-parakeet-tdt-tiny")

    def meet_again(graph: Any) -> None:
        meeting = next(node for node in graph.node if node.op_type == "Add" and "Unsqueeze" in node.input[0])
        last = graph.node[-1]
        graph.node.append(helper.make_node("Mul", list(meeting.input), ["twice"]))
        graph.node.append(helper.make_node("ReduceSum", ["twice"], ["sum"], keepdims=0))
        graph.node.append(helper.make_node("Add", [last.output[0], "sum"], ["logits"]))
        graph.output[0].name = "logits"

    assert files.joiner is not None
    broken = replace(files, joiner=edited(files.joiner, tmp_path / "joiner.onnx", meet_again))
    with pytest.raises(UnsupportedLayoutError, match="meet in 2 nodes"):
        cut_decoder(broken, spec)


def test_a_decoder_without_states_is_refused(models: Path, tmp_path: Path) -> None:
    files, spec = find_model(models / "sherpa-onnx-parakeet-tdt-tiny")
    assert files.decoder is not None
    assert files.joiner is not None
    with pytest.raises(ModelMismatchError, match="2 inputs and 1 outputs"):
        cut_decoder(replace(files, decoder=files.joiner), spec)


@pytest.mark.parametrize("older", ["decoder", "joiner"])
def test_graphs_of_different_operator_sets_are_brought_together(models: Path, tmp_path: Path, older: str) -> None:
    files, spec = find_model(models / "sherpa-onnx-parakeet-tdt-tiny")
    model = onnx.load(getattr(files, older))
    model.opset_import[0].version, path = 16, tmp_path / f"{older}.onnx"  # nothing in either changed from 16 to 17
    onnx.save(model, path)
    mixed, plain = cut_decoder(replace(files, **{older: path}), spec), cut_decoder(files, spec)
    for found, expected in ((mixed.joint, plain.joint), (mixed.predictor, plain.predictor)):
        graphs = [onnx.load_from_string(one) for one in (found, expected)]
        assert [graph.opset_import[0].version for graph in graphs] == [17, 17]
        assert [node.op_type for node in graphs[0].graph.node] == [node.op_type for node in graphs[1].graph.node]


@pytest.mark.parametrize("domain", ["", "com.microsoft"])
def test_operator_sets_that_cannot_be_brought_together_are_refused(models: Path, tmp_path: Path, domain: str) -> None:
    files, spec = find_model(models / "sherpa-onnx-parakeet-tdt-tiny")
    for number, role in enumerate(("decoder", "joiner")):
        model = onnx.load(getattr(files, role))
        if domain:
            model.opset_import.add(domain=domain, version=1 + number)
        elif number:
            model.opset_import[0].version = 16
            model.graph.node[0].op_type = "Nothing"
        onnx.save(model, tmp_path / f"{role}.onnx")
    with pytest.raises(UnsupportedLayoutError, match="operator sets"):
        cut_decoder(replace(files, decoder=tmp_path / "decoder.onnx", joiner=tmp_path / "joiner.onnx"), spec)


@pytest.mark.parametrize("opset", [13, 17, 18, 21])
def test_the_head_is_valid_in_every_operator_set(opset: int, rng: np.random.Generator) -> None:
    from tdt.surgery.joint_head import head_nodes

    nodes, constants = head_nodes("logits", 4, opset)
    port = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "head",
        [port("logits", 1, ["B", "W", 7])],
        [port("choices", 7, ["B", "W", 2]), port("scores", 1, ["B", "W", 3])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    logits = rng.integers(-2, 3, (3, 2, 7)).astype(np.float32)
    choices, _ = Session(model.SerializeToString(), Backend()).run({"logits": logits})
    expected = np.stack([logits[..., :4].argmax(-1), logits[..., 4:].argmax(-1)], axis=-1)  # ties: the first index
    np.testing.assert_array_equal(choices, expected)
