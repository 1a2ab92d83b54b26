"""The real CUDA provider of the installed wheel, over a CUDA runtime, cuBLAS and cuDNN that do nothing.

Real: option parsing and rejection, graph partitioning, node placement, the assignment record, session errors.
Not real: the device, its numbers and times.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from tdt.decoding.device_engine import DeviceEngine
from tdt.errors import ProviderError
from tdt.model.finding import find_model
from tdt.runtime import placement, provider_options, providers
from tdt.runtime.backend import Backend
from tdt.runtime.ort import onnxruntime
from tdt.runtime.session import Session
from tdt.surgery.causal_convolutions import runs_causal_convolutions
from tdt.surgery.encoder_graph import device_graph

if TYPE_CHECKING:
    from pathlib import Path

CUDA = Backend.parse("cuda:0")


@pytest.fixture(scope="module")
def bundled() -> Any:
    return find_model(None)


def computing(session: Session) -> tuple[dict[str, int], dict[str, int]]:
    """Computing operators on CUDA and on the CPU."""
    nodes = session.placement()
    on_cuda: dict[str, int] = {}
    for node in nodes:
        if node.computes and node.provider == provider_options.CUDA:
            on_cuda[node.operator] = on_cuda.get(node.operator, 0) + 1
    return on_cuda, dict(placement.computing_on_cpu(nodes))


def test_the_runtime_is_the_fake_one() -> None:
    assert "TDT_FAKE_CUDA" in os.environ, "run tools/test-gpu-contracts"
    assert provider_options.CUDA in onnxruntime().get_available_providers()


def test_every_computing_node_of_the_float_encoder_is_on_cuda(bundled: Any) -> None:
    files, spec = bundled
    assert runs_causal_convolutions(CUDA)
    on_cuda, on_cpu = computing(Session(device_graph(files, spec, causal=True).model, CUDA))
    assert not on_cpu
    assert on_cuda["Conv"] == 29 - 16 - 8  # those of kernel 1 are products
    assert on_cuda["CausalConvWithState"] == 8
    assert on_cuda["MatMul"] >= 97 + 16 + 1  # the projection's too
    assert on_cuda["Softmax"] == 8
    assert on_cuda["LayerNormalization"] == 40


def test_shape_arithmetic_stays_on_the_cpu_and_is_not_counted(bundled: Any) -> None:
    session = Session(bundled[0].encoder, CUDA)
    table = placement.count(session.placement())
    assert sum(table[provider_options.CPU].values()) > 100
    assert set(table[provider_options.CPU]) <= placement.SHAPE_OPERATORS


def test_every_computing_node_of_the_qdq_encoder_is_on_cuda(bundled: Any, tmp_path: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Noise(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            frames = np.random.default_rng(1).standard_normal((1, 128, 64)).astype(np.float32)
            self.left = [{"audio_signal": frames, "length": np.array([64])}]

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    path = tmp_path / "encoder.qdq.onnx"
    quantize_static(
        str(bundled[0].encoder), str(path), Noise(), quant_format=QuantFormat.QDQ, op_types_to_quantize=["MatMul"],
        weight_type=QuantType.QInt8, activation_type=QuantType.QInt8, per_channel=True,
        extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "MatMulConstBOnly": True},
    )  # fmt: skip
    on_cuda, on_cpu = computing(Session(path, CUDA))
    assert not on_cpu
    assert on_cuda["QuantizeLinear"] > 20
    assert on_cuda["DequantizeLinear"] > 20
    assert on_cuda["MatMul"] >= 97


def test_dynamic_quantisation_is_detected_with_the_nodes(bundled: Any, tmp_path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path = tmp_path / "encoder-model.int8.onnx"
    quantize_dynamic(str(bundled[0].encoder), str(path), weight_type=QuantType.QUInt8)
    with pytest.raises(ProviderError, match=r"dynamically quantised \(\d+ DynamicQuantizeLinear, \d+ MatMulInteger"):
        Session(path, CUDA)
    _, on_cpu = computing(Session(path, CUDA, cpu_nodes="allow"))
    counted = {node.op_type: 0 for node in onnx.load(path).graph.node}
    for node in onnx.load(path).graph.node:
        counted[node.op_type] += 1
    for operator in ("DynamicQuantizeLinear", "MatMulInteger", "ConvInteger"):
        assert on_cpu[operator] == counted[operator] > 0


def test_the_decoding_step_computes_on_cuda_alone(bundled: Any) -> None:
    engine = DeviceEngine(*bundled, CUDA)
    on_cuda, on_cpu = computing(engine._step)
    assert not on_cpu
    # cuDNN leaves open which of equal logits its ArgMax names.
    assert not any(node.operator == "ArgMax" for node in engine._step.placement())
    assert {"MatMul", "Sigmoid", "Tanh", "ReduceMin", "Where", "GatherND"} <= set(on_cuda) | {
        node.operator for node in engine._step.placement() if node.provider == provider_options.CUDA
    }
    assert not any(node.operator in ("LSTM", "MemcpyToHost", "MemcpyFromHost") for node in engine._step.placement())
    engine.close()


@pytest.mark.parametrize("text", ["cuda:0", "cuda:0,tf32", "cuda:0,memory=2"])
def test_our_options_arrive(bundled: Any, text: str) -> None:
    backend = Backend.parse(text)
    session = Session(bundled[0].encoder, backend)
    effective = session._session.get_provider_options()[provider_options.CUDA]
    for key, value in provider_options.cuda_options(backend).items():
        assert effective[key] == value


def test_the_callers_stream_is_used(bundled: Any) -> None:
    from dataclasses import replace

    session = Session(bundled[0].encoder, replace(CUDA, stream=0x1000))
    effective = session._session.get_provider_options()[provider_options.CUDA]
    assert (effective["has_user_compute_stream"], effective["user_compute_stream"]) == ("1", str(0x1000))


def test_an_unknown_option_is_rejected(bundled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    options = provider_options.cuda_options(CUDA) | {"cudnn_conv_algo_serach": "HEURISTIC"}
    monkeypatch.setattr(provider_options, "cuda_options", lambda _backend: options)
    with pytest.raises(Exception, match=r"cudnn_conv_algo_serach|[Uu]nknown"):
        Session(bundled[0].encoder, CUDA)


def test_a_node_without_a_device_kernel_stops_the_session(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    port = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "x"], ["y"], name="product"),
            helper.make_node("Det", ["y"], ["z"], name="determinant"),
        ],
        "graph",
        [port("x", TensorProto.FLOAT, [4, 4])],
        [port("z", TensorProto.FLOAT, [])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    with pytest.raises(ProviderError, match="1 computing nodes land on the CPU"):
        Session(model, CUDA)


def test_tensorrt_says_which_library_is_missing_and_what_installs_it(bundled: Any) -> None:
    if not providers.provider_load_error(onnxruntime(), Backend.parse("tensorrt")):
        pytest.skip("TensorRT is installed")
    with pytest.raises(ProviderError, match=r'libnvinfer\.so\.10 is missing.*pip install "tensorrt-cu1[23]>=10'):
        Session(bundled[0].encoder, Backend.parse("tensorrt:0"))


def test_the_driver_is_read_and_auto_takes_its_card(bundled: Any, caplog: pytest.LogCaptureFixture) -> None:
    import logging

    from tdt.loading import choose_backends
    from tdt.runtime.driver import Card, read_driver

    driver = read_driver()
    assert (driver.cuda, driver.cards, driver.problem) == ((13, 0), (Card("FAKE", (9, 0), 1 << 36),), "")
    with caplog.at_level(logging.INFO, logger="tdt"):
        encoder, decoder = choose_backends(bundled[0], "auto", None, None, "auto")
    assert (str(encoder), str(decoder)) == ("cuda:0", "cuda:0")
    assert "a CUDA card is usable" in caplog.text


def test_a_card_that_is_not_there_is_named(bundled: Any) -> None:
    with pytest.raises(ProviderError, match=r"no card 3 \(0: FAKE\)"):
        Session(bundled[0].encoder, Backend.parse("cuda:3"))
