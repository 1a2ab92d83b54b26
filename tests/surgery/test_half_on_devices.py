"""A float16 encoder as the CPU and CUDA are given it: rounded like a card, and without casts around its norms."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest

from tdt.model.finding import find_model
from tdt.onnxfile import load_model
from tdt.quantization.half_model import to_half
from tdt.runtime.backend import Backend
from tdt.runtime.session import Session
from tdt.surgery.cpu_half import round_like_a_card
from tdt.surgery.cpu_rewrite import for_cpu
from tdt.surgery.editing import EditableGraph
from tdt.surgery.encoder_graph import device_graph
from tdt.surgery.half_islands import narrow_islands
from tdt.surgery.prepare import prepare_encoder
from tdt.surgery.value_types import FLOAT, FLOAT16, values_of_type

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def exact(models: Path) -> Path:
    return models / "parakeet-tdt-tiny-onnx/encoder-model.onnx"


@pytest.fixture(scope="module")
def half(exact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return to_half(exact.parent, tmp_path_factory.mktemp("half") / "fp16").folder / "encoder-model.fp16.onnx"


def feeds() -> dict[str, np.ndarray]:
    frames = np.random.default_rng(0).standard_normal((2, 128, 401)).astype(np.float32)
    return {"audio_signal": frames, "length": np.array([401, 250])}


def run(model: bytes | onnx.ModelProto) -> Any:
    data = model if isinstance(model, bytes) else model.SerializeToString()
    return Session(data, Backend()).run(feeds())


def relative_error(found: Any, expected: Any) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def test_every_result_is_a_float16_number(half: Path) -> None:
    graph = EditableGraph(load_model(half))
    names = [name for name in values_of_type(graph, FLOAT16) if name in graph.producers]
    assert round_like_a_card(graph) > 300
    inside = [name for name in names if name in graph.producers]
    assert len(inside) > 450
    graph.graph.output.extend(onnx.helper.make_tensor_value_info(name, FLOAT, None) for name in inside)
    for name, value in zip(inside, run(graph.model)[2:], strict=True):
        np.testing.assert_array_equal(value, value.astype(np.float16).astype(np.float32), err_msg=name)


def test_the_runtime_leaves_the_rounding_in(half: Path, exact: Path) -> None:
    """By itself it would round the weights alone; the optimiser must not take the casts out."""
    plan = for_cpu(half)
    assert plan is not None
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain = onnxruntime.InferenceSession(plan.model, options, providers=["CPUExecutionProvider"]).run(None, feeds())[0]
    expected = run(exact.read_bytes())[0]
    errors = [relative_error(found, expected) for found in (run(plan.model)[0], plain, run(half.read_bytes())[0])]
    assert errors[0] == pytest.approx(errors[1], rel=0.5)
    assert 1.3 * errors[2] < errors[0] < 3e-3


def test_a_float32_graph_and_an_opaque_one_are_left_alone(exact: Path, half: Path) -> None:
    assert round_like_a_card(EditableGraph(load_model(exact))) == 0
    model = load_model(half)
    tensor = onnx.numpy_helper.from_array(np.array([1], np.float16))
    node = onnx.helper.make_node("ConstantOfShape", ["shape"], ["ones"], value=tensor)
    model.graph.node.append(node)
    before = model.SerializeToString(deterministic=True)
    assert round_like_a_card(EditableGraph(model)) == 0
    assert model.SerializeToString(deterministic=True) == before


def test_islands_lose_their_casts_and_hardly_any_accuracy(half: Path, exact: Path) -> None:
    model = load_model(half)
    casts = sum(node.op_type == "Cast" for node in model.graph.node)
    graph = EditableGraph(model)
    assert narrow_islands(graph) == 39 + 8 + 16 + 8  # norms but the last, softmax, masks, scaling
    left = [node for node in model.graph.node if node.op_type == "Cast"]
    assert casts - len(left) > 80
    assert len(left) <= 14
    onnx.checker.check_model(model, full_check=True)
    floats = values_of_type(graph, FLOAT)
    wide = [node for node in model.graph.node if node.op_type == "LayerNormalization" and node.output[0] in floats]
    assert [node.output[0] for node in wide] == ["/layers.7/norm_out/LayerNormalization_output_0"]
    expected = run(exact.read_bytes())[0]
    assert round_like_a_card(graph) > 300
    assert relative_error(run(model)[0], expected) < 3e-3


def test_cuda_is_given_narrow_norms_and_causal_convolutions(half: Path) -> None:
    made = device_graph(*find_model(half.parent), narrow=True, causal=True)
    assert made.projects
    model = onnx.load_from_string(made.model)
    ops = Counter(node.op_type for node in model.graph.node)
    assert ops["CausalConvWithState"] == 8
    assert ops["Cast"] <= 14
    assert ops["LayerNormalization"] == 40
    wide = onnx.load_from_string(device_graph(*find_model(half.parent)).model)
    assert Counter(node.op_type for node in wide.graph.node)["Cast"] >= ops["Cast"] + 80


def test_a_mask_that_float16_cannot_hold_stays(half: Path) -> None:
    model = load_model(half)
    graph = EditableGraph(model)
    (softmax, *_) = [node for node in model.graph.node if node.op_type == "Softmax"]
    mask = graph.producers[softmax.input[0]]
    graph.add_constant("far", np.float32(-1e9), exact_name=True)
    mask.input[1] = "far"
    graph.reindex()
    narrow_islands(graph)
    floats = values_of_type(graph, FLOAT)
    softmaxes = [node for node in graph.graph.node if node.op_type == "Softmax"]
    assert [node.output[0] in floats for node in softmaxes] == [True] + [False] * 7
    onnx.checker.check_model(model, full_check=True)


def test_preparing_it_again_changes_nothing(half: Path) -> None:
    """Every graph that goes to a device is prepared; this one was, before it was made float16."""
    model = load_model(half)
    report = prepare_encoder(model)
    assert report.nodes_after == report.nodes_before
    assert not any(report.changes.values())
