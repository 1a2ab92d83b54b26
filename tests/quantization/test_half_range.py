"""What float16 cannot hold: values, weights and lengths that stay float32, and numbers that lose digits."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

import tdt
from tdt.errors import DecodingError, QuantizationError
from tdt.onnxfile import load_model
from tdt.quantization.half import half_body
from tdt.quantization.half_model import to_half
from tdt.quantization.half_peaks import HEADROOM, too_large
from tdt.quantization.half_weights import LARGEST
from tdt.surgery.editing import EditableGraph
from tdt.surgery.prepare import prepare_encoder

if TYPE_CHECKING:
    from pathlib import Path

FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64


@pytest.fixture(scope="module")
def source(models: Path) -> Path:
    return models / "parakeet-tdt-tiny-onnx"


def text_of(folder: Path, clip: Path) -> str:
    with tdt.load(folder) as recognizer:
        return recognizer.transcribe(clip).text


def test_the_evaluation_clips_stay_far_within_the_range(source: Path, eval_folder: Path, tmp_path: Path) -> None:
    made = to_half(source, tmp_path / "out", audio=[eval_folder])
    measured = made.sidecar["measured"]
    assert measured["kept_for"] == []
    assert len(measured["clips"]) == 42
    assert "self_attn" in measured["largest"]["value"]  # the scores, before they are scaled
    assert 100 < measured["largest"]["magnitude"] < LARGEST / 50


def test_values_beyond_the_range_stay_float32_where_recordings_show_them(
    source: Path, golden_folder: Path, tmp_path: Path
) -> None:
    """A layer whose scores are 256 times as large before they are scaled down as much more: the same model, exactly."""
    loud = planted(source, tmp_path / "loud", scores=256.0)
    clip = golden_folder / "07_jfk.flac"
    text = text_of(source, clip)
    assert text_of(loud, clip) == text
    blind = to_half(loud, tmp_path / "blind")
    with pytest.raises(DecodingError, match="may overflow"):
        text_of(blind.folder, clip)
    seeing = to_half(loud, tmp_path / "seeing", audio=[clip])
    assert text_of(seeing.folder, clip) == text
    kept = seeing.sidecar["nodes"]["kept_in_float32"]
    assert kept
    assert all(name.startswith("/layers.0/self_attn/") for name in kept)
    assert "/layers.0/self_attn/Add_2_output_0" in seeing.sidecar["measured"]["kept_for"]


def planted(source: Path, folder: Path, scores: float) -> Path:
    shutil.copytree(source, folder)
    (folder / "encoder-model.int8.onnx").unlink()
    model = load_model(folder / "encoder-model.onnx")
    prepare_encoder(model)
    graph = EditableGraph(model)
    query = graph.producers["/layers.0/self_attn/linear_q/MatMul_output_0"].input[1]
    scale = graph.producers["/layers.0/self_attn/Div_output_0"].input[1]
    for name in (query, "layers.0.self_attn.pos_bias_u", "layers.0.self_attn.pos_bias_v", scale):
        graph.add_constant(name, np.asarray(graph.weight(name) * np.float32(scores)), exact_name=True)
    onnx.save_model(model, str(folder / "encoder-model.onnx"))
    return folder


def test_a_weight_beyond_the_range_keeps_its_node_in_float32(source: Path) -> None:
    graph = prepared(source)
    product = graph.producers["/layers.3/feed_forward1/linear1/MatMul_output_0"]
    weight = graph.weight(product.input[1]).copy()
    weight[0, 0] = 70000.0
    graph.add_constant(product.input[1], weight, exact_name=True)
    report = half_body(graph)
    assert report.kept == ("/layers.3/feed_forward1/linear1/MatMul_output_0",)
    product = graph.producers["/layers.3/feed_forward1/linear1/MatMul_output_0"]
    assert graph.initializers[product.input[1]].data_type == FLOAT
    onnx.checker.check_model(graph.model, full_check=True)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_that_is_no_number_is_an_error(source: Path, value: float) -> None:
    graph = prepared(source)
    name = graph.producers["/layers.3/feed_forward1/linear1/MatMul_output_0"].input[1]
    weight = graph.weight(name).copy()
    weight[0, 0] = value
    graph.add_constant(name, weight, exact_name=True)
    with pytest.raises(QuantizationError, match="not finite"):
        half_body(graph)


def test_numbers_that_float16_loses_are_counted(source: Path) -> None:
    graph = prepared(source)
    name = graph.producers["/layers.3/feed_forward1/linear1/MatMul_output_0"].input[1]
    weight = np.zeros_like(graph.weight(name))
    weight[0, :6] = (1e-8, -1e-8, 1e-6, 6e-5, 7e-5, 1.0)
    before = half_body(prepared(source)).weights
    graph.add_constant(name, weight, exact_name=True)
    after = half_body(graph).weights
    original = prepared(source).weight(name)
    magnitude = np.abs(original)
    small = np.count_nonzero((magnitude < 2.0**-14) & (magnitude > 0))
    assert after.subnormal == before.subnormal - small + 4
    assert (
        after.vanished == before.vanished - np.count_nonzero((original.astype(np.float16) == 0) & (magnitude > 0)) + 2
    )


def prepared(source: Path) -> EditableGraph:
    model = load_model(source / "encoder-model.onnx")
    prepare_encoder(model)
    return EditableGraph(model)


def test_what_decides_lengths_stays_float32_even_where_it_is_no_integer_arithmetic(source: Path) -> None:
    """Lengths computed in floating point in a form that the preparation does not know are not cast."""
    graph = prepared(source)
    readers = [node for node in graph.consumers["length"] if node.op_type == "Unsqueeze"]
    as_float = graph.add("Cast", ["length"], "odd/float", to=FLOAT)
    halved = graph.add("Mul", [as_float, graph.add_constant("odd/half", np.float32(0.5))], "odd/half")
    doubled = graph.add("Add", [halved, halved], "odd/double")
    whole = graph.add("Cast", [doubled], "odd/whole", to=INT64)
    graph.replace_uses("length", whole, only=readers)
    graph.finish()
    half_body(graph)
    inferred = onnx.shape_inference.infer_shapes(graph.model, check_type=True, strict_mode=True).graph
    found = {value.name: value.type.tensor_type.elem_type for value in inferred.value_info}
    assert {name: found[name] for name in (as_float, halved, doubled)} == dict.fromkeys(
        (as_float, halved, doubled), FLOAT
    )


def test_peaks_near_the_end_are_too_large() -> None:
    edge = LARGEST / HEADROOM
    assert too_large({"a": edge, "b": edge * 1.001, "c": 1.0, "d": float("nan"), "e": float("inf")}) == ["b", "d", "e"]
