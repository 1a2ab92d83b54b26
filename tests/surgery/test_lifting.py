"""Weights found by structure: both layouts, any depth, any names, quantised files; other graphs are refused."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from tdt.decoding.native import NativeEngine
from tdt.errors import ModelMismatchError, UnrecognizedGraphError
from tdt.model.finding import find_model
from tdt.stages import Encoded
from tdt.surgery.lifting import lift

from .. import naive, tiny_models
from ..decoding.test_native_engine import events

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHAPES = [
    tiny_models.Shape(),
    tiny_models.Shape(layers=2, vocab=40, durations=(0, 1, 2, 4, 8)),
    tiny_models.Shape(layers=3, vocab=300, hidden=40, joint=33, encoder_dim=17, seed=3),
    tiny_models.Shape(vocab=8192, hidden=16, joint=48, seed=5),
]


def random_clips(width: int, count: int = 6) -> Encoded:
    rng = np.random.default_rng(1)
    lengths = rng.integers(0, 30, count)
    return Encoded(rng.standard_normal((count, 30, width)).astype(np.float32), lengths)


def assert_decodes_as_numpy(files: Any, spec: Any, **options: Any) -> int:
    encoded = random_clips(spec.encoder_dim)
    found, _ = NativeEngine(files, spec, **options).decode(encoded)
    weights = lift(files, spec)
    for frames, length, hypothesis in zip(encoded.frames, encoded.lengths, found, strict=True):
        network = naive.Network(weights, frames, spec.blank_id)
        expected, _ = naive.greedy_tdt(
            network, int(length), spec.durations, spec.blank_id, max_symbols=spec.max_symbols
        )
        assert events(hypothesis) == expected
    return sum(map(len, found))


@pytest.mark.parametrize("screening", [False, True])
@pytest.mark.parametrize("layout", tiny_models.LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_models_of_other_shapes(tmp_path: Path, shape: tiny_models.Shape, layout: str, screening: bool) -> None:
    folder = tiny_models.write(tmp_path, shape, layout)
    files, spec = find_model(folder, durations=shape.durations)
    assert len(lift(files, spec).layers) == shape.layers
    assert assert_decodes_as_numpy(files, spec, screening=screening) > 0


def test_both_layouts_hold_the_same_weights(models: Path) -> None:
    fused, split = (
        lift(*find_model(models / name)) for name in ("parakeet-tdt-tiny-onnx", "sherpa-onnx-parakeet-tdt-tiny")
    )
    assert np.array_equal(fused.embedding, split.embedding)
    assert np.array_equal(fused.output.matrix.values, split.output.matrix.values)
    assert np.array_equal(fused.encoder.matrix.values, split.encoder.matrix.values)
    for one, other in zip(fused.layers, split.layers, strict=True):
        assert np.array_equal(one.inputs.values, other.inputs.values)
        assert np.array_equal(one.bias, other.bias)


def test_quantised_files_keep_their_own_levels(model_folder: Path) -> None:
    exact = lift(*find_model(model_folder))
    rounded = lift(*find_model(model_folder, precision="int8"))
    assert rounded.quantised
    assert not exact.quantised
    for one, other in [
        (exact.output.matrix, rounded.output.matrix),
        (exact.layers[1].recurrent, rounded.layers[1].recurrent),
        (exact.layers[0].inputs, rounded.layers[0].inputs),
        (exact.encoder.matrix, rounded.encoder.matrix),
    ]:
        assert other.levels is not None
        assert np.array_equal(other.levels * other.scales[:, None], other.values)
        assert np.abs(one.values - other.values).max() <= other.scales.max() * 0.51
    step = np.abs(exact.embedding).max() / 120  # the table has 8 bits too
    assert np.abs(exact.embedding - rounded.embedding).max() <= step


def test_names_do_not_matter(tmp_path: Path) -> None:
    folder = tiny_models.write(tmp_path, tiny_models.Shape(layers=2, vocab=40))
    path = folder / "decoder_joint-model.onnx"
    model = onnx.load(str(path))
    names = {tensor.name: f"weight {index}" for index, tensor in enumerate(model.graph.initializer)}
    for tensor in model.graph.initializer:
        tensor.name = names[tensor.name]
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    onnx.save(model, str(path))
    assert assert_decodes_as_numpy(*find_model(folder)) > 0


def change(folder: Path, edit: Callable[[Any], None]) -> None:
    path = folder / "decoder_joint-model.onnx"
    model = onnx.load(str(path))
    edit(model.graph)
    onnx.save(model, str(path))


def node_of(graph: Any, kind: str) -> Any:
    return next(node for node in graph.node if node.op_type == kind)


def other_activation(graph: Any) -> None:
    node_of(graph, "Relu").op_type = "Tanh"


def clipped_lstm(graph: Any) -> None:
    node_of(graph, "LSTM").attribute.append(onnx.helper.make_attribute("clip", 3.0))


def gru_like(graph: Any) -> None:
    node_of(graph, "Gather").op_type = "GatherND"


def not_a_number(graph: Any) -> None:
    tensor = graph.initializer[0]
    values = onnx.numpy_helper.to_array(tensor).copy()
    values.flat[0] = np.nan
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


@pytest.mark.parametrize("edit", [other_activation, clipped_lstm, gru_like, not_a_number])
def test_other_structures_are_refused_by_name(tmp_path: Path, edit: Callable[[Any], None]) -> None:
    folder = tiny_models.write(tmp_path, tiny_models.Shape(vocab=40))
    change(folder, edit)
    files, spec = find_model(folder)
    with pytest.raises(UnrecognizedGraphError, match="onnx") as caught:
        lift(files, spec)
    assert "decoder_joint-model.onnx" in str(caught.value)


def test_sizes_that_contradict_the_model_are_refused(tmp_path: Path) -> None:
    files, spec = find_model(tiny_models.write(tmp_path, tiny_models.Shape(vocab=40)))
    for wrong in ({"blank_id": 41}, {"encoder_dim": 31}, {"durations": (0, 1)}):
        with pytest.raises(ModelMismatchError, match="files of one"):
            lift(files, dataclasses.replace(spec, **wrong))
