"""Graphs whose weights in blocks contradict themselves: typed errors, at once, whatever the attributes say."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tdt.errors import ModelFileCorruptError, UnrecognizedGraphError
from tdt.model.finding import inspect_model
from tdt.model.inspection import describe
from tdt.onnxfile.blocks import dequantised, gathered_rows, nbits_rows, unpacked
from tdt.runtime import form_problem
from tdt.surgery import cut_decoder, lift

from .. import quantised_forms as q
from ..conversion import micro

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HUGE = 2**40


@pytest.fixture(scope="module")
def graphs() -> dict[str, bytes]:
    """The micro model's decoder with MatMulNBits and GatherBlockQuantized, and behind DequantizeLinear."""
    model = onnx.load(str(micro.GRAPH / q.DECODER))
    blocks = q.blocks(model, 4, 16, symmetric=False, gather=True).SerializeToString()
    newer = onnx.version_converter.convert_version(onnx.load(str(micro.GRAPH / q.DECODER)), 21)
    return {"blocks": blocks, "pairs": q.blocks(newer, 4, 16, symmetric=False, qdq=True).SerializeToString()}


def written(folder: Path, content: bytes, operator: str, change: Callable[[Any, Any], None]) -> Path:
    """Write the model with `change` made to the graph at its first node of `operator` with weights."""
    shutil.copytree(micro.GRAPH, folder)
    graph = (model := onnx.load_from_string(content)).graph
    held = {tensor.name for tensor in graph.initializer}
    change(graph, next(node for node in graph.node if node.op_type == operator and held & set(node.input[:2])))
    onnx.save(model, str(folder / q.DECODER))
    return folder


def stated(**values: int) -> Callable[[Any, Any], None]:
    def change(_: Any, node: Any) -> None:
        kept = [item for item in node.attribute if item.name not in values]
        del node.attribute[:]
        node.attribute.extend([*kept, *(helper.make_attribute(*item) for item in values.items())])

    return change


def resized(index: int, rows: int) -> Callable[[Any, Any], None]:
    """Give an input's tensor another number of rows, sound by itself."""

    def change(graph: Any, node: Any) -> None:
        tensor = next(tensor for tensor in graph.initializer if tensor.name == node.input[index])
        array = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(np.resize(array, (rows, *array.shape[1:])), tensor.name))

    return change


DAMAGE = [
    *(("MatMulNBits", stated(bits=bits)) for bits in (0, -1, 3, 8, 64, HUGE)),
    *(("MatMulNBits", stated(block_size=block)) for block in (0, -16, 17, HUGE)),
    *(("MatMulNBits", stated(K=size, N=size)) for size in (0, -1, 2**31, HUGE, 2**62)),
    *(("MatMulNBits", resized(index, 7)) for index in (1, 2, 3)),
    *(("GatherBlockQuantized", stated(block_size=block)) for block in (-16, 5)),
    *(("GatherBlockQuantized", stated(quantize_axis=axis)) for axis in (0, 2, -3, HUGE)),
    *(("GatherBlockQuantized", stated(gather_axis=axis)) for axis in (1, HUGE)),
    *(("GatherBlockQuantized", resized(index, 7)) for index in (2, 3)),
]


@pytest.mark.parametrize(("operator", "change"), DAMAGE)
def test_contradictions_are_refused_when_weights_are_lifted(
    operator: str, change: Callable[[Any, Any], None], graphs: dict[str, bytes], tmp_path: Path
) -> None:
    found = inspect_model(written(tmp_path / "model", graphs["blocks"], operator, change))
    describe(found)
    for graph in found.graphs.values():
        form_problem(graph, "cuda")
        form_problem(graph, "tensorrt")
    with pytest.raises(UnrecognizedGraphError):
        lift(found.files, found.spec)


@pytest.mark.parametrize("change", [resized(2, 7), resized(1, 7), stated(axis=5), stated(block_size=-16)])
def test_contradictions_behind_dequantizelinear_are_refused_by_either_engine(
    change: Callable[[Any, Any], None], graphs: dict[str, bytes], tmp_path: Path
) -> None:
    found = inspect_model(written(tmp_path / "model", graphs["pairs"], "DequantizeLinear", change))
    form_problem(found.graphs["decoder_joint"], "tensorrt")
    with pytest.raises(UnrecognizedGraphError):
        lift(found.files, found.spec)
    with pytest.raises(ModelFileCorruptError, match="malformed"):
        cut_decoder(found.files, found.spec)


def test_the_undamaged_graphs_are_lifted(graphs: dict[str, bytes], tmp_path: Path) -> None:
    for name, operator in (("blocks", "MatMulNBits"), ("pairs", "DequantizeLinear")):
        found = inspect_model(written(tmp_path / name, graphs[name], operator, lambda *_: None))
        assert lift(found.files, found.spec).output.matrix.values.shape[0] == len(found.spec.pieces) + 5


def test_a_block_longer_than_the_row_is_one_block() -> None:
    levels = np.arange(6, dtype=np.int8).reshape(2, 3)
    scale = np.array([[2.0], [3.0]], np.float32)
    expected = levels * scale
    assert np.array_equal(dequantised(levels, scale, None, 1, HUGE), expected)
    assert np.array_equal(gathered_rows(levels, scale, None, {"block_size": HUGE}), expected)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_packed_numbers_are_bytes(bits: int) -> None:
    with pytest.raises(ValueError, match=f"int32 .*{bits} bits"):
        unpacked(np.zeros(4, np.int32), bits)
    with pytest.raises(ValueError, match=f"K, bits, block .*{bits}, 16.* of 15 bytes"):
        nbits_rows(np.zeros(15, np.uint8), np.ones(1, np.float32), None, (1, 16 * 8 // bits, bits, 16))
