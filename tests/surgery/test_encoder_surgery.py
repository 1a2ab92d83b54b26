"""The rewrites before quantisation change nothing but rounding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from tdt.encoding.position_cache import PositionCache
from tdt.onnxfile import load_model, read_graph
from tdt.quantization.parts import find_linears
from tdt.runtime.backend import Backend
from tdt.runtime.session import Session
from tdt.surgery.editing import EditableGraph
from tdt.surgery.masks import broadcast_pairs
from tdt.surgery.position_split import split_positions
from tdt.surgery.prepare import prepare_encoder

BACKEND = Backend()


@pytest.fixture(scope="module")
def encoder(models: Path) -> Path:
    return models / "parakeet-tdt-tiny-onnx/encoder-model.onnx"


@pytest.fixture(scope="module")
def prepared(encoder: Path) -> onnx.ModelProto:
    model = load_model(encoder)
    prepare_encoder(model)
    return model


def feeds(frames: int, lengths: list[int], seed: int = 0) -> dict[str, np.ndarray]:
    values = np.random.default_rng(seed).standard_normal((len(lengths), 128, frames)).astype(np.float32)
    return {"audio_signal": values, "length": np.asarray(lengths, np.int64)}


CASES = [(1, [1]), (9, [9]), (40, [0]), (333, [333]), (1001, [1001]), (333, [333, 200, 40]), (17, [17, 1])]


@pytest.mark.parametrize(("frames", "lengths"), CASES)
def test_the_prepared_encoder_gives_the_same_numbers(
    encoder: Path, prepared: onnx.ModelProto, frames: int, lengths: list[int]
) -> None:
    exact = Session(encoder, BACKEND).run(feeds(frames, lengths))
    same = Session(prepared.SerializeToString(), BACKEND).run(feeds(frames, lengths))
    # Outputs reach 5; pointwise convolutions become products that sum in another order: 4 units in the last place.
    np.testing.assert_allclose(same[0], exact[0], atol=5e-6)
    np.testing.assert_array_equal(same[1], exact[1])


def test_every_pass_found_its_pattern(encoder: Path) -> None:
    model = load_model(encoder)
    report = prepare_encoder(model)
    assert report.nodes_after < 0.5 * report.nodes_before
    assert report.changes["pointwise convolutions as matrix products"] == 16
    assert report.changes["position tables halved"] == 1
    assert report.changes["lengths made integer"] >= 4
    assert report.changes["masks broadcast"] == 8
    assert report.changes["masks applied once"] == 3
    assert report.changes["masks paired by broadcasting"] == 1
    assert not [node.name for node in model.graph.node if node.op_type == "Tile"]
    assert report.changes["reshapes simplified"] == 32
    onnx.checker.check_model(model)


def test_a_mask_that_is_no_row_stays_written_out() -> None:
    """A Tile whose input is not known to be [B, 1, T] may mean something else."""
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [
            helper.make_node("Tile", ["mask", "repeats"], ["tiled"]),
            helper.make_node("Transpose", ["tiled"], ["turned"], perm=[0, 2, 1]),
            helper.make_node("And", ["tiled", "turned"], ["out"]),
        ],
        "pair",
        [helper.make_tensor_value_info("mask", TensorProto.BOOL, ["B", "K", "T"])],
        [helper.make_tensor_value_info("out", TensorProto.BOOL, ["B", "T", "T"])],
        [helper.make_tensor("repeats", TensorProto.INT64, [3], [1, 2, 1])],
    )
    editable = EditableGraph(helper.make_model(graph))
    assert broadcast_pairs(editable) == 0
    assert [node.op_type for node in editable.graph.node] == ["Tile", "Transpose", "And"]


def test_lengths_never_become_floats(prepared: onnx.ModelProto) -> None:
    """NVIDIA/TensorRT issue 4822: in bfloat16 12000 frames became 1504 encoder frames instead of 1500."""
    graph = EditableGraph(prepared)
    reached, stack = set(), ["length"]
    while stack:
        name = stack.pop()
        for node in graph.consumers.get(name, []):
            if node.output[0] in reached:
                continue
            reached.add(node.output[0])
            if node.op_type == "Cast" and node.attribute[0].i == onnx.TensorProto.FLOAT:
                makers = [graph.producers[value].op_type for value in node.input]
                assert makers[0] in ("And", "Expand", "Less", "Unsqueeze"), "only masks are cast to float"
                continue
            stack.extend(node.output)
    assert "encoded_lengths" in reached
    lengths = [1, 7, 8, 9, 800, 12000, 123457]
    outputs = Session(prepared.SerializeToString(), BACKEND).run(feeds(16, lengths), ["encoded_lengths"])[0]
    np.testing.assert_array_equal(outputs, [((((n - 1) // 2) // 2) // 2) + 1 for n in lengths])


def test_the_halved_table_keeps_its_reach(encoder: Path, prepared: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "encoder.onnx"
    onnx.save_model(prepared, str(path))
    assert read_graph(path).position_rows == read_graph(encoder).position_rows == 2500
    assert path.stat().st_size < 0.94 * encoder.stat().st_size


def test_a_table_that_is_not_odd_and_even_stays(encoder: Path) -> None:
    model = load_model(encoder)
    graph = EditableGraph(model)
    from tdt.surgery.positions import halve_position_table, position_slice

    node = position_slice(graph)
    assert node is not None
    table = graph.weight(node.input[0]).copy()
    table[0, 7, 3] += 1e-6
    graph.add_constant(node.input[0], table, exact_name=True)
    assert halve_position_table(graph) == 0


@pytest.mark.parametrize("halved", [False, True])
def test_positions_split_off_are_bitwise_the_same(encoder: Path, prepared: onnx.ModelProto, halved: bool) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(prepared if halved else load_model(encoder))
    exact = Session(model.SerializeToString(), BACKEND)
    graph = EditableGraph(model)
    split = split_positions(graph)
    assert split is not None
    assert len(split.names) == 8
    session = Session(model.SerializeToString(), BACKEND)
    cache = PositionCache(split.model.SerializeToString(), split.names, Path(), BACKEND, limit=2500)
    for frames in (300, 1001, 1, 77, 1500):  # growing, shrinking, and growing again
        batch = feeds(frames, [frames, max(1, frames // 2)], seed=frames)
        reference = exact.run(batch, ["outputs"])[0]
        out = session.run({**batch, **cache.rows(reference.shape[2])}, ["outputs"])[0]
        np.testing.assert_array_equal(out, reference)


def test_positions_never_reach_past_the_table(prepared: onnx.ModelProto) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(prepared)
    split = split_positions(EditableGraph(model))
    assert split is not None
    cache = PositionCache(split.model.SerializeToString(), split.names, Path(), BACKEND, limit=2500)
    assert {rows.shape for rows in cache.rows(2499).values()} == {(1, 4997, 144)}


def test_outputs_nobody_reads_are_cut(encoder: Path) -> None:
    model = load_model(encoder)
    report = prepare_encoder(model, keep_outputs=["outputs"])
    assert report.changes["outputs cut"] == 1
    assert [value.name for value in model.graph.output] == ["outputs"]


def test_layers_are_named_and_sorted_into_parts(prepared: onnx.ModelProto) -> None:
    linears = find_linears(EditableGraph(prepared))
    counts = {part: sum(linear.part == part for linear in linears) for part in {linear.part for linear in linears}}
    assert counts == {"feed_forward": 32, "attention": 32, "pointwise": 16, "position": 8, "subsampling": 1}
    assert linears[1].name == "layers.0.feed_forward1.linear1"
    assert {linear.layer for linear in linears} == {None, *range(8)}
