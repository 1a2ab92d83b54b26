"""Depthwise convolutions as the CUDA provider's causal operator: the same numbers, and nothing else is touched.

The CPU provider has the operator too, so that its numbers can be looked at here.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tdt.model.finding import find_model
from tdt.onnxfile import load_model
from tdt.runtime.backend import Backend
from tdt.runtime.session import Session
from tdt.surgery.causal_convolutions import OPERATOR, causal_convolutions, runs_causal_convolutions
from tdt.surgery.editing import EditableGraph
from tdt.surgery.prepare import prepare_encoder

if TYPE_CHECKING:
    import numpy.typing as npt

CASES = [(1, [1]), (9, [9]), (40, [0]), (333, [333]), (1001, [1001]), (333, [333, 200, 40]), (17, [17, 1])]


@pytest.fixture(scope="module")
def prepared() -> onnx.ModelProto:
    model = load_model(find_model(None)[0].encoder)
    prepare_encoder(model)
    return model


@pytest.fixture(scope="module")
def causal(prepared: onnx.ModelProto) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(prepared)
    assert causal_convolutions(EditableGraph(model)) == 8
    return model


def test_only_the_subsampling_is_left_to_cudnn(prepared: onnx.ModelProto, causal: onnx.ModelProto) -> None:
    before, after = (Counter(node.op_type for node in model.graph.node) for model in (prepared, causal))
    assert (before["Conv"], after["Conv"], after[OPERATOR]) == (13, 5, 8)
    assert after["Transpose"] == before["Transpose"] - 16  # into [B, C, T] and back
    assert after["Where"] == before["Where"]  # padding is set to zero as before
    assert len(causal.graph.node) < len(prepared.graph.node)


@pytest.mark.parametrize(("frames", "lengths"), CASES)
def test_the_encoder_gives_the_same_numbers(
    prepared: onnx.ModelProto, causal: onnx.ModelProto, frames: int, lengths: list[int]
) -> None:
    values = np.random.default_rng(0).standard_normal((len(lengths), 128, frames)).astype(np.float32)
    feeds = {"audio_signal": values, "length": np.asarray(lengths, np.int64)}
    exact = Session(prepared.SerializeToString(), Backend()).run(feeds)
    same = Session(causal.SerializeToString(), Backend()).run(feeds)
    np.testing.assert_allclose(same[0], exact[0], atol=4e-6)
    np.testing.assert_array_equal(same[1], exact[1])


def convolution(
    *,
    width: int = 9,
    channels: int = 6,
    group: int = 6,
    pads: tuple[int, int] = (4, 4),
    pad_node: tuple[int, int] | None = None,
    fill: float = 0.0,
    mode: str = "constant",
    stride: int = 1,
    dilation: int = 1,
    activation: str = "silu",
    dtype: Any = np.float32,
    opset: int = 17,
) -> onnx.ModelProto:
    """Make a graph x [B, C, T] → y of a convolution and what may be around it."""
    rng = np.random.default_rng(5)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    constants: dict[str, npt.NDArray[Any]] = {
        "w": rng.standard_normal((channels, channels // group, width)).astype(dtype),
        "b": rng.standard_normal(channels).astype(dtype),
    }
    nodes = []
    source = "x"
    if pad_node is not None:
        constants["pads"] = np.array([0, 0, pad_node[0], 0, 0, pad_node[1]], np.int64)
        constants["fill"] = np.array(fill, dtype)
        nodes.append(helper.make_node("Pad", ["x", "pads", "fill"], ["padded"], mode=mode))
        source = "padded"
    attributes = {"group": group, "pads": list(pads), "strides": [stride], "dilations": [dilation]}
    nodes.append(helper.make_node("Conv", [source, "w", "b"], ["c"], name="conv", kernel_shape=[width], **attributes))
    last = {"silu": "c", "relu": "c", "swapped": "c", "shared": "c", "read again": "c"}[activation]
    if activation == "relu":
        nodes.append(helper.make_node("Relu", [last], ["y"]))
    else:
        nodes.append(helper.make_node("Sigmoid", [last], ["s"]))
        nodes.append(helper.make_node("Mul", ["s", "c"] if activation == "swapped" else ["c", "s"], ["y"]))
    outputs = ["y"]
    if activation == "shared":
        outputs.append("s")
    if activation == "read again":
        nodes.append(helper.make_node("Neg", ["c"], ["n"]))
        outputs.append("n")
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, ["B", channels, "T"])],
        [helper.make_tensor_value_info(name, kind, ["N", "C", "L"]) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


SERVED = [
    {},
    {"activation": "swapped"},
    {"pads": (0, 0), "pad_node": (4, 4)},
    {"width": 5, "pads": (2, 2)},
    {"width": 31, "pads": (15, 15)},
]


@pytest.mark.parametrize("options", SERVED, ids=str)
@pytest.mark.parametrize("frames", [1, 3, 4, 50])
def test_a_convolution_alone_gives_the_same(options: dict[str, Any], frames: int) -> None:
    model = convolution(**options)
    x = np.random.default_rng(6).standard_normal((2, 6, frames)).astype(np.float32)
    (exact,) = Session(model.SerializeToString(), Backend()).run({"x": x})
    assert causal_convolutions(EditableGraph(model)) == 1
    onnx.checker.check_model(model)
    assert not any(node.op_type == "Conv" for node in model.graph.node)
    np.testing.assert_allclose(Session(model.SerializeToString(), Backend()).run({"x": x})[0], exact, atol=4e-6)


@pytest.mark.parametrize("dtype", [np.float16])
def test_half_precision_is_served(dtype: Any) -> None:
    model = convolution(dtype=dtype)
    assert causal_convolutions(EditableGraph(model)) == 1
    (made,) = [node for node in model.graph.node if node.op_type == OPERATOR]
    assert made.domain == "com.microsoft"


REFUSED = [
    ({"width": 8, "pads": (4, 4)}, "8 wide"),
    ({"pads": (3, 5)}, "not padded by 4 at both ends"),
    ({"pads": (8, 0)}, "not padded by 4 at both ends"),
    ({"pads": (2, 2)}, "not padded by 4 at both ends"),
    ({"pads": (4, 4), "pad_node": (4, 4)}, "not padded by 4 at both ends"),
    ({"pads": (0, 0), "pad_node": (8, 0)}, "not padded by 4 at both ends"),
    ({"pads": (0, 0), "pad_node": (4, 4), "fill": 1.0}, "not padded by 4 at both ends"),
    ({"pads": (0, 0), "pad_node": (4, 4), "mode": "reflect"}, "not padded by 4 at both ends"),
    ({"stride": 2}, "not depthwise, or has strides"),
    ({"dilation": 2}, "not depthwise, or has strides"),
    ({"group": 1}, "not depthwise"),
    ({"group": 3}, "not depthwise"),
    ({"activation": "relu"}, "no SiLU follows"),
    ({"activation": "shared"}, "no SiLU follows"),
    ({"activation": "read again"}, "no SiLU follows"),
    ({"dtype": np.float64}, "type 11"),
]


@pytest.mark.parametrize(("options", "why"), REFUSED, ids=[str(options) for options, _ in REFUSED])
def test_what_is_not_of_the_kind_stays(options: dict[str, Any], why: str, caplog: pytest.LogCaptureFixture) -> None:
    model = convolution(**options)
    before = [node.op_type for node in model.graph.node]
    with caplog.at_level(logging.DEBUG, logger="tdt"):
        assert causal_convolutions(EditableGraph(model)) == 0
    assert [node.op_type for node in model.graph.node] == before
    assert "conv stays a convolution of cuDNN" in caplog.text
    assert why in caplog.text
    assert [entry.domain for entry in model.opset_import] == [""]


def test_old_operator_sets_stay() -> None:
    assert causal_convolutions(EditableGraph(convolution(opset=12))) == 0


@pytest.mark.parametrize("provider", ["cpu", "tensorrt:0", "tensorrt-rtx:0"])
def test_it_is_for_cuda_alone(provider: str) -> None:
    assert not runs_causal_convolutions(Backend.parse(provider))
