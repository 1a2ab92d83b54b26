"""`tdt quantize` of float16 models: widened with the numbers that they have, and then as any other."""

from __future__ import annotations

import shutil
import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

import tdt
from tdt.commands import main
from tdt.errors import QuantizationError
from tdt.model.finding import find_model
from tdt.model.sidecar import read_sidecar
from tdt.onnxfile import read_graph
from tdt.quantization import source as sources
from tdt.quantization.agreement import tokens_equal
from tdt.quantization.half_model import to_half
from tdt.quantization.source import open_source
from tdt.surgery import EditableGraph, widen

from .. import quantised_forms as q
from ..parakeet_tiny import BUNDLED, with_metadata

if TYPE_CHECKING:
    from pathlib import Path

FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model in float16, both graphs, as ONNX Runtime's converter writes it."""
    folder = tmp_path_factory.mktemp("half") / "model"
    shutil.copytree(BUNDLED, folder)
    for name in (q.ENCODER, q.DECODER):
        onnx.save(q.half(q.source(name)), str(folder / name.replace(".onnx", ".fp16.onnx")))
        (folder / name).unlink()
    return folder


def tokens(folder: Path, recordings: list[Path]) -> list[list[int]]:
    with tdt.load(folder) as recognizer:
        found = [recognizer.decode(recognizer.encode(recognizer.features(path)))[0] for path in recordings]
    return [[int(token) for token in one.token_ids] for one in found]


def narrow(model: Any) -> list[str]:
    """Return what of a graph is still in float16."""
    graph = model.graph
    left = [tensor.name for tensor in graph.initializer if tensor.data_type == HALF]
    left += [value.name for value in (*graph.input, *graph.output) if value.type.tensor_type.elem_type == HALF]
    for node in graph.node:
        left += [
            node.name for item in node.attribute if item.t.data_type == HALF or (item.name == "to" and item.i == HALF)
        ]
    return left


@pytest.mark.parametrize("name", [q.ENCODER, q.DECODER])
def test_a_widened_graph_has_the_same_numbers_and_no_casts(name: str) -> None:
    model = q.half(q.source(name))
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    plain = sum(node.op_type == "Cast" for node in q.source(name).graph.node)
    assert widen(EditableGraph(model)) > 10
    assert narrow(model) == []
    assert sum(node.op_type == "Cast" for node in model.graph.node) <= plain
    for tensor in model.graph.initializer:
        if tensor.name in held:
            assert np.array_equal(numpy_helper.to_array(tensor), held[tensor.name]), tensor.name
    onnx.checker.check_model(model, full_check=True)


def test_a_widened_encoder_computes_what_float32_does_with_these_weights() -> None:
    plain, model = q.source(q.ENCODER), q.half(q.source(q.ENCODER))
    widen(EditableGraph(model))
    for tensor in plain.graph.initializer:
        if tensor.data_type == FLOAT:
            rounded = numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    rng = np.random.default_rng(7)
    feeds = {"audio_signal": rng.standard_normal((1, 128, 160)).astype(np.float32), "length": np.array([160])}
    expected, found = (
        onnxruntime.InferenceSession(one.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feeds)[0]
        for one in (plain, model)
    )
    # Constants of Constant nodes and float16's smallest numbers, which the converter moves, are what is left.
    assert np.abs(found - expected).max() < 2e-3 * np.abs(expected).max()


def test_graphs_within_nodes_and_bfloat16_are_widened() -> None:
    """An If whose branches hold numbers and types of their own, in bfloat16."""
    kind = onnx.TensorProto.BFLOAT16
    one = helper.make_tensor("one", kind, [1], [1.5])
    branches = {
        branch: helper.make_graph(
            [helper.make_node("Constant", [], ["c"], value=one), helper.make_node("Cast", ["c"], [branch], to=kind)],
            branch, [], [helper.make_tensor_value_info(branch, kind, [1])],
        )
        for branch in ("then_branch", "else_branch")
    }  # fmt: skip
    nodes = [
        helper.make_node("If", ["flag"], ["chosen"], **branches),
        helper.make_node("Cast", ["chosen"], ["y"], to=FLOAT),
    ]
    ports = [helper.make_tensor_value_info("flag", onnx.TensorProto.BOOL, [])]
    graph = helper.make_graph(nodes, "g", ports, [helper.make_tensor_value_info("y", FLOAT, [1])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert widen(EditableGraph(model)) == 2
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert session.run(None, {"flag": np.array(True)})[0].tolist() == [1.5]


def test_the_tokens_of_a_static_model_made_from_float16(half: Path, eval_folder: Path, tmp_path: Path) -> None:
    """As near to the float16 model as one made from float32 is to its own."""
    recordings = sorted(eval_folder.glob("*.flac"))
    folder = tmp_path / "int8"
    words = ["quantize", str(half), "--audio", str(eval_folder), "-o", str(folder), "-q", "--smoothquant", "off"]
    assert main([*words, "--decoder-weights", "int8"]) == 0
    names = {path.name for path in folder.iterdir()}
    assert {"encoder-model.int8.onnx", "decoder_joint-model.int8.onnx"} <= names
    files, _ = find_model(folder)
    assert (files.encoder_precision, files.decoder_precision) == ("int8", "int8")
    for path in (files.encoder, files.decoder_joint):
        assert path is not None
        assert narrow(onnx.load(str(path))) == []
    content = read_sidecar(folder)
    assert content is not None
    assert content["source"]["files"][0]["file"] == "encoder-model.fp16.onnx"
    exact, found = tokens(half, recordings), tokens(folder, recordings)
    assert sum(map(len, exact)) > 600
    assert tokens_equal(exact, found) >= 0.97


def test_the_tokens_of_a_float16_model_made_from_float16(half: Path, eval_folder: Path, tmp_path: Path) -> None:
    recordings = sorted(eval_folder.glob("*.flac"))[:12]
    made = to_half(half, tmp_path / "fp16")
    assert read_graph(made.folder / "decoder_joint-model.fp16.onnx").quantization == "half"  # as it was
    assert tokens_equal(tokens(half, recordings), tokens(made.folder, recordings)) >= 0.99


def test_a_large_encoder_is_widened_in_a_folder_that_goes_away(
    half: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sources, "SINGLE_FILE_BYTES", 0)
    with open_source(half) as outside:
        assert outside.folder.parent == tmp_path
        graph = outside.graph()
        placed = {name for name in graph.initializers if graph.is_external(name)}
        assert len(placed) > 50
        held = {name: graph.weight(name) for name in graph.initializers}
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(sources, "SINGLE_FILE_BYTES", 1 << 30)
    with open_source(half) as inside:
        graph = inside.graph()
        assert not any(graph.is_external(name) for name in graph.initializers)
        assert held.keys() == graph.initializers.keys()
        for name, values in held.items():
            assert np.array_equal(values, graph.weight(name)), name


def test_the_sherpa_layout_in_float16_is_a_source(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    origin = models / "sherpa-onnx-parakeet-tdt-tiny"
    shutil.copyfile(origin / "tokens.txt", folder / "tokens.txt")
    for role in ("encoder", "decoder", "joiner"):
        model = onnx.load(str(origin / f"{role}.onnx"))
        made = q.half(model).SerializeToString()
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        (folder / f"{role}.fp16.onnx").write_bytes(with_metadata(made, metadata))
    made_folder = to_half(folder, tmp_path / "out", decoder_weights="int8").folder
    names = {path.name for path in made_folder.iterdir()}
    assert {"encoder.fp16.onnx", "decoder.int8.onnx", "joiner.int8.onnx", "tokens.txt"} <= names


def test_what_is_quantised_already_is_refused(tmp_path: Path) -> None:
    folder = q.write(
        tmp_path / "model",
        lambda name: q.blocks(q.source(name), 4, 32, symmetric=True) if name == q.ENCODER else q.source(name),
    )
    with (
        pytest.raises(
            QuantizationError, match=r"quantised already .*MatMulNBits of 4 bits.*float32 or float16 was expected"
        ),
        open_source(folder),
    ):
        pytest.fail("opened")
