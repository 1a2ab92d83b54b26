"""Attention with fewer passes: numbers of frames that count stay, bit by bit; what has no such pattern stays whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tdt.onnxfile import load_model
from tdt.runtime.backend import Backend
from tdt.runtime.session import Session
from tdt.surgery import attention
from tdt.surgery.attention import simplify_attention
from tdt.surgery.editing import EditableGraph
from tdt.surgery.folding import constant_behind
from tdt.surgery.prepare import prepare_encoder

from .test_encoder_surgery import feeds

if TYPE_CHECKING:
    from collections.abc import Callable

BACKEND = Backend()
SKELETON = Path(__file__).resolve().parents[2] / "tools/bench_model/encoder-model.skeleton.onnx"
LAYERS = 8
# Mel frames; the first two are one encoder frame, for which nothing is shifted.
CASES = [(1, [1]), (8, [8]), (9, [9]), (40, [0]), (333, [333]), (2400, [2400]), (333, [333, 200, 40, 1]), (17, [17, 1])]


@pytest.fixture(scope="module")
def encoder(models: Path) -> Path:
    return models / "parakeet-tdt-tiny-onnx/encoder-model.onnx"


def operators(model: onnx.ModelProto) -> dict[str, int]:
    kinds = [node.op_type for node in model.graph.node]
    return {kind: kinds.count(kind) for kind in ("Where", "Pad", "Transpose", "Slice", "Softmax")}


@pytest.mark.parametrize("prepared", [False, True])
def test_frames_that_count_keep_their_bits(encoder: Path, prepared: bool) -> None:
    plain = load_model(encoder)
    if prepared:
        prepare_encoder(plain)
    model = onnx.ModelProto()
    model.CopyFrom(plain)
    before = operators(model)
    assert simplify_attention(EditableGraph(model)) == 4 * LAYERS, "masks, shift, keys and positions of each layer"
    onnx.checker.check_model(model)
    after = operators(model)
    assert after["Where"] == before["Where"] - 2 * LAYERS + 1, "one bias for all layers"
    assert (after["Pad"], after["Softmax"]) == (before["Pad"] - LAYERS, before["Softmax"])
    exact, simple = (Session(each.SerializeToString(), BACKEND) for each in (plain, model))
    for frames, lengths in CASES:
        (wanted, counts), (found, same) = (session.run(feeds(frames, lengths))[:2] for session in (exact, simple))
        np.testing.assert_array_equal(same, counts)
        assert found.shape == wanted.shape
        assert np.isfinite(found).all()
        for row, count in enumerate(counts):
            np.testing.assert_array_equal(found[row, :, :count], wanted[row, :, :count])


def test_a_second_time_nothing_is_left_to_do(encoder: Path) -> None:
    graph = EditableGraph(load_model(encoder))
    simplify_attention(graph)
    once = graph.model.SerializeToString()
    assert simplify_attention(graph) == 0
    assert graph.model.SerializeToString() == once


# --- what must stay ---------------------------------------------------------------------------------------------------


def graph_of(
    nodes: list[onnx.NodeProto], inputs: dict[str, list[object]], outputs: list[str], **constants: object
) -> EditableGraph:
    kinds = {name: TensorProto.BOOL if name.startswith("mask") else TensorProto.FLOAT for name in inputs}
    graph = helper.make_graph(
        nodes,
        "attention",
        [helper.make_tensor_value_info(name, kinds[name], shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return EditableGraph(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def masked(
    low: float = -10000.0, zero: float = 0.0, second: str = "mask", seen: str = "", outputs: tuple[str, ...] = ()
) -> EditableGraph:
    """Return a softmax between its masks; `seen` and the `outputs` are read by others, too."""
    nodes = [
        helper.make_node("Where", ["mask", "low", "scores"], ["masked"]),
        helper.make_node("Softmax", ["masked"], ["shares"], axis=-1),
        helper.make_node("Where", [second, "zero", "shares"], ["cleared"]),
        helper.make_node("Identity", ["cleared"], ["end"]),
        *([helper.make_node("Relu", [seen], ["seen"])] if seen else []),
    ]
    inputs: dict[str, list[object]] = {name: ["B", 1, "T", "T"] for name in ("mask", "mask_2")}
    inputs["scores"] = ["B", 2, "T", "T"]
    numbers = {"low": np.float32(low), "zero": np.float32(zero)}
    return graph_of(nodes, inputs, ["end", *(["seen"] if seen else []), *outputs], **numbers)


@pytest.mark.parametrize(
    "graph",
    [
        lambda: masked(low=-50.0),  # shares of masked frames are not zero then
        lambda: masked(low=10000.0),
        lambda: masked(zero=0.5),
        lambda: masked(second="mask_2"),
        lambda: masked(outputs=("shares",)),
        lambda: masked(outputs=("masked",)),
        lambda: masked(outputs=("cleared",)),
        lambda: masked(seen="masked"),
        lambda: masked(seen="shares"),
    ],
)
def test_other_masks_stay(graph: Callable[[], EditableGraph]) -> None:
    made = graph()
    before = made.model.SerializeToString()
    assert simplify_attention(made) == 0
    assert made.model.SerializeToString() == before


@pytest.mark.parametrize("low", [-10000.0, -np.inf])
def test_a_mask_is_one_addition(low: float) -> None:
    """What would be caught: zero times minus infinity, which is no number."""
    graph, plain = masked(low), masked(low)
    assert simplify_attention(graph) == 1
    rng = np.random.default_rng(0)
    mask = rng.random((2, 1, 5, 5)) < 0.5
    mask[..., 0] = False  # no row is masked as a whole
    values = {"mask": mask, "mask_2": mask, "scores": 30 * rng.standard_normal((2, 2, 5, 5)).astype(np.float32)}
    found, wanted = (_run(each, values) for each in (graph, plain))
    np.testing.assert_array_equal(found, wanted)


def _run(graph: EditableGraph, values: dict[str, np.ndarray]) -> np.ndarray:
    session = Session(graph.model.SerializeToString(), BACKEND)
    return np.asarray(session.run({port.name: values[port.name] for port in session.inputs})[0])


def shifted(
    amounts: tuple[int, ...] = (0, 0, 0, 1, 0, 0, 0, 0), value: float = 0.0, first: int = 1, axis: int = 2,
    order: tuple[int, ...] = (0, 1, 2, 3), outputs: tuple[str, ...] = (), mode: str = "constant",
) -> EditableGraph:  # fmt: skip
    """Return NeMo's rel_shift."""
    axes = [
        node
        for number in range(4)
        for node in (
            helper.make_node("Gather", ["shape", f"axis_{number}"], [f"dim_{number}"], axis=0),
            helper.make_node("Unsqueeze", [f"dim_{number}", "zero"], [f"part_{number}"]),
        )
    ]
    nodes = [
        helper.make_node("Pad", ["scores", "amounts", "value"], ["padded"], mode=mode),
        helper.make_node("Shape", ["scores"], ["shape"]),
        *axes,
        helper.make_node("Concat", ["part_0", "part_1", "rest", "part_2"], ["turned_shape"], axis=0),
        helper.make_node("Concat", [f"part_{number}" for number in order], ["back_shape"], axis=0),
        helper.make_node("Reshape", ["padded", "turned_shape"], ["turned"]),
        helper.make_node("Slice", ["turned", "first", "last", "axis"], ["dropped"]),
        helper.make_node("Reshape", ["dropped", "back_shape"], ["rows"]),
        helper.make_node("Identity", ["rows"], ["end"]),
    ]
    numbers = {f"axis_{number}": np.int64(number) for number in range(4)} | {
        "amounts": np.asarray(amounts), "value": np.float32(value), "rest": np.asarray([-1]), "zero": np.asarray([0]),
        "first": np.asarray([first]), "last": np.asarray([np.iinfo(np.int64).max]), "axis": np.asarray([axis]),
    }  # fmt: skip
    return graph_of(nodes, {"scores": ["B", 2, "T", "R"]}, ["end", *outputs], **numbers)


@pytest.mark.parametrize("frames", [1, 2, 3, 17])
def test_rows_are_shifted_without_padding(frames: int) -> None:
    graph, plain = shifted(), shifted()
    assert simplify_attention(graph) == 1
    assert operators(graph.model)["Pad"] == 0
    scores = np.random.default_rng(frames).standard_normal((2, 2, frames, 2 * frames - 1)).astype(np.float32)
    found, wanted = (_run(each, {"scores": scores})[..., :frames] for each in (graph, plain))
    np.testing.assert_array_equal(found, wanted)
    by_hand = [[scores[:, :, i, frames - 1 - i + j] for j in range(frames)] for i in range(frames)]
    np.testing.assert_array_equal(found, np.transpose(by_hand, (2, 3, 0, 1)))


@pytest.mark.parametrize(
    "graph",
    [
        lambda: shifted(amounts=(0, 0, 0, 0, 0, 0, 0, 1)),
        lambda: shifted(amounts=(0, 0, 1, 0, 0, 0, 0, 0)),
        lambda: shifted(value=1.0),
        lambda: shifted(mode="edge"),
        lambda: shifted(first=0),
        lambda: shifted(axis=3),
        lambda: shifted(outputs=("rows",)),
        lambda: shifted(order=(0, 1, 3, 2)),
        lambda: shifted(outputs=("padded",)),
        lambda: shifted(outputs=("dropped",)),
    ],
)
def test_other_shifts_stay(graph: Callable[[], EditableGraph]) -> None:
    made = graph()
    before = made.model.SerializeToString()
    assert simplify_attention(made) == 0
    assert made.model.SerializeToString() == before


def turned(perm: tuple[int, ...] = (0, 2, 3, 1), *, seen: bool = False, outputs: tuple[str, ...] = ()) -> EditableGraph:
    nodes = [
        helper.make_node("Transpose", ["keys"], ["turned"], perm=perm),
        helper.make_node("MatMul", ["queries", "turned"], ["product"]),
        *([helper.make_node("Relu", ["turned"], ["seen"])] if seen else []),
    ]
    inputs: dict[str, list[object]] = {"keys": ["B", "T", 2, 4], "queries": ["B", 2, "T", 4]}
    return graph_of(nodes, inputs, ["product", *(["seen"] if seen else []), *outputs])


def test_keys_that_others_read_are_turned_as_before() -> None:
    for graph in (turned(seen=True), turned(outputs=("turned",)), turned(perm=(0, 2, 1, 3))):
        assert simplify_attention(graph) == 0
    graph = turned()
    assert simplify_attention(graph) == 1
    assert operators(graph.model)["Transpose"] == 2


def test_what_depends_on_constants_is_found_and_what_does_not_is_not() -> None:
    nodes = [
        helper.make_node("Concat", ["a", "a"], ["pair"], axis=0),
        helper.make_node("Mul", ["pair", "a"], ["product"]),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Concat", ["shape", "a"], ["mixed"], axis=0),
        helper.make_node("Cast", ["mixed"], ["out"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["product"], ["out_2"], to=TensorProto.FLOAT),
    ]
    graph = graph_of(nodes, {"x": ["N"]}, ["out", "out_2"], a=np.asarray([3]))
    assert constant_behind(graph, "product") is not None
    assert constant_behind(graph, "product").tolist() == [9, 9]  # type: ignore[union-attr]
    assert constant_behind(graph, "mixed") is constant_behind(graph, "x") is constant_behind(graph, "nowhere") is None


def test_published_graphs_have_all_three() -> None:
    """What NeMo's exporter writes for parakeet-tdt-0.6b-v3; the weights are not needed."""
    graph = EditableGraph(load_model(SKELETON, weights=False))
    assert attention._add_masks(graph) == 24
    assert attention._shift_unpadded(graph) == 24
    assert attention._turn_in_two(graph) == 48
