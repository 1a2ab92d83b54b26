"""What ONNX Runtime makes of a graph before a provider sees it: for TensorRT, nothing."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tdt.runtime.backend import Backend
from tdt.runtime.ort import onnxruntime
from tdt.runtime.session_options import session_options

if TYPE_CHECKING:
    from pathlib import Path


def attention_end(path: Path) -> Path:
    """Write probabilities times values, transposed and reshaped, quantised before the projection that follows."""
    port = helper.make_tensor_value_info

    def quantised(name: str, source: str) -> list[onnx.NodeProto]:
        return [
            helper.make_node("QuantizeLinear", [source, "scale", "zero"], [f"{name}_q"]),
            helper.make_node("DequantizeLinear", [f"{name}_q", "scale", "zero"], [name]),
        ]

    nodes = [
        helper.make_node("MatMul", ["probabilities", "values"], ["context"]),
        helper.make_node("Transpose", ["context"], ["turned"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["turned", "shape"], ["flat"]),
        *quantised("flat_8", "flat"),
        helper.make_node("DequantizeLinear", ["weight_8", "scale", "zero"], ["weight"]),
        *(helper.make_node("MatMul", ["flat_8", "weight"], [name]) for name in ("y", "z")),  # two readers of a DQ
    ]
    weight = np.random.default_rng(0).integers(-127, 128, (16, 16)).astype(np.int8)
    constants = [
        numpy_helper.from_array(weight, "weight_8"),
        numpy_helper.from_array(np.array([0, 0, 16], np.int64), "shape"),
        numpy_helper.from_array(np.array(0.02, np.float32), "scale"),
        numpy_helper.from_array(np.array(0, np.int8), "zero"),
    ]
    graph = helper.make_graph(
        nodes,
        "attention",
        [port("probabilities", TensorProto.FLOAT, [1, 4, 5, 5]), port("values", TensorProto.FLOAT, [1, 4, 5, 4])],
        [port("y", TensorProto.FLOAT, [1, 5, 16]), port("z", TensorProto.FLOAT, [1, 5, 16])],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def as_saved(path: Path, provider: str, folder: Path) -> Counter[str]:
    """Return the operators after ONNX Runtime's own rewriting, with a provider's options and the CPU's kernels."""
    ort = onnxruntime()
    options = session_options(ort, Backend.parse(provider), "graph")
    options.optimized_model_filepath = str(folder / "saved.onnx")
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return operators(folder / "saved.onnx")


@pytest.mark.parametrize("provider", ["tensorrt:0,int8", "tensorrt-rtx"])
def test_tensorrt_gets_the_graph_as_the_file_has_it(provider: str, tmp_path: Path) -> None:
    path = attention_end(tmp_path / "model.onnx")
    assert as_saved(path, provider, tmp_path) == operators(path)


def test_other_providers_let_it_be_rewritten(tmp_path: Path) -> None:
    path = attention_end(tmp_path / "model.onnx")
    before, after = operators(path), as_saved(path, "cpu", tmp_path)
    assert after != before
    assert after["DequantizeLinear"] != before["DequantizeLinear"]


def test_a_quantised_encoder_reaches_tensorrt_with_all_its_q_and_dq_nodes(
    models: Path, eval_folder: Path, tmp_path: Path
) -> None:
    from tdt.model.finding import find_model
    from tdt.quantization.pipeline import quantize

    path = find_model(quantize(models / "parakeet-tdt-tiny-onnx", [eval_folder], tmp_path / "int8").folder)[0].encoder
    wanted, found = operators(path), as_saved(path, "tensorrt:0,int8", tmp_path)
    assert wanted["QuantizeLinear"] > 50
    for operator in ("QuantizeLinear", "DequantizeLinear", "MatMul"):
        assert found[operator] == wanted[operator]
