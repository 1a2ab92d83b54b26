"""TensorRT-RTX takes the float16 encoder as it is written: strongly typed, without a GPU."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("tensorrt_rtx_bindings", reason="the TensorRT-RTX wheels are not installed")

from tdt.quantization.engines.builder import tensorrt_rtx
from tdt.quantization.engines.folder import build_engine
from tdt.quantization.engines.targets import Shapes
from tdt.quantization.half_model import to_half

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def half(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return to_half(models / "parakeet-tdt-tiny-onnx", tmp_path_factory.mktemp("half") / "fp16").folder


def last(thing: object) -> str:
    return str(thing).rpartition(".")[2]


def test_the_parsed_network_has_the_types_of_the_file(half: Path) -> None:
    trt = tensorrt_rtx()
    log = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(log)
    network = builder.create_network(0)  # strongly typed: TensorRT-RTX knows no other
    parser = trt.OnnxParser(network, log)
    assert parser.parse_from_file(str(half / "encoder-model.fp16.onnx"))
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    kinds = Counter((last(layer.type), last(layer.get_output(0).dtype)) for layer in layers)
    assert kinds["MATRIX_MULTIPLY", "HALF"] == 113
    assert (kinds["CONVOLUTION", "HALF"], kinds["CONVOLUTION", "FLOAT"]) == (8, 5)  # float32: the subsampling's
    assert kinds["NORMALIZATION", "FLOAT"] == 40
    assert kinds["SOFTMAX", "FLOAT"] == 8
    assert kinds["SELECT", "FLOAT"] == 16
    assert not kinds["MATRIX_MULTIPLY", "FLOAT"]
    for kind in ("NORMALIZATION", "SOFTMAX"):
        assert not kinds[kind, "HALF"]
    inputs = {
        network.get_input(index).name: last(network.get_input(index).dtype) for index in range(network.num_inputs)
    }
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    assert inputs == {"audio_signal": "FLOAT", "length": "INT64"}
    assert {value.name: last(value.dtype) for value in outputs} == {"outputs": "FLOAT", "encoded_lengths": "INT64"}
    assert {last(layer.get_output(0).dtype) for layer in layers if layer.name.startswith("length/")} == {"INT64"}


def test_an_engine_of_it_computes_in_float16(half: Path, tmp_path: Path) -> None:
    shapes = Shapes(max_batch=2, opt_seconds=2.0, max_seconds=8.0)
    built = build_engine(half, tmp_path / "engine", targets=("sm_89",), shapes=shapes)
    layers = built.report["layers"]
    assert layers["linear"] == {"float16": 89}
    assert layers["attention"] == {"float16": 24}
    assert layers["convolution"] == {"float16": 8, "float32": 5}
    assert built.report["quantization"] == "half"
