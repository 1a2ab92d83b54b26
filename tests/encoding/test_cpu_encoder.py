"""One artefact everywhere: the Q/DQ file on the CPU provider, in integer kernels, as uint8 or int8."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from tdt.encoding.cpu_encoder import open_on_cpu
from tdt.errors import ProviderError
from tdt.onnxfile import load_model, read_graph
from tdt.quantization.pipeline import Quantised, quantize
from tdt.runtime.backend import Backend
from tdt.runtime.ort import onnxruntime
from tdt.runtime.session import Session
from tdt.surgery import cpu_rewrite
from tdt.surgery.cpu_rewrite import OFFSET, OFFSET_BIAS, fold_offsets, for_cpu, unsigned_activations, wants_unsigned
from tdt.surgery.editing import EditableGraph

if TYPE_CHECKING:
    from pathlib import Path

BACKEND = Backend()


@pytest.fixture(scope="module")
def quantised(models: Path, eval_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Quantised:
    folder = tmp_path_factory.mktemp("quantised") / "model"
    return quantize(models / "parakeet-tdt-tiny-onnx", [eval_folder], folder)


@pytest.fixture(scope="module")
def encoder(quantised: Quantised) -> Path:
    return quantised.folder / "encoder-model.int8.onnx"


def optimised(model: bytes, path: Path) -> onnx.ModelProto:
    """What ONNX Runtime makes of a graph before it runs it."""
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 4
    ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return onnx.load(str(path))


def feeds(frames: int) -> dict[str, np.ndarray]:
    values = np.random.default_rng(frames).standard_normal((1, 128, frames)).astype(np.float32)
    return {"audio_signal": values, "length": np.asarray([frames], np.int64)}


def test_every_layer_asked_for_runs_in_an_integer_kernel(encoder: Path, tmp_path: Path) -> None:
    plan = for_cpu(encoder, unsigned=True)
    assert plan is not None
    assert plan.rewritten == 64
    model = optimised(plan.model, tmp_path / "optimised.onnx")
    operators = Counter(node.op_type for node in model.graph.node)
    assert operators["MatMulIntegerToFloat"] == 80
    assert operators["DequantizeLinear"] == 0
    constants = {tensor.name for tensor in model.graph.initializer}
    floats = [node for node in model.graph.node if node.op_type in ("MatMul", "FusedMatMul", "Gemm")]
    weighted = [node for node in floats if any(name in constants for name in node.input)]
    # What is left with constant weights is what was not asked for: positions of 8 layers and the subsampling's output.
    assert len(weighted) == 9
    assert all("linear_pos" in node.output[0] or "pre_encode" in node.output[0] for node in weighted)
    types = Counter(tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) == 2)
    assert types[onnx.TensorProto.INT8] == 80


def test_uint8_and_int8_agree_within_one_quantum(encoder: Path) -> None:
    """Every quantised tensor of the encoder, from the same float values, without the runtime's own rewrites."""
    plan = for_cpu(encoder, unsigned=True)
    assert plan is not None
    signed, unsigned = onnx.load(str(encoder)), EditableGraph(onnx.load_from_string(plan.model))
    shifted = {node.input[0] for node in unsigned.graph.node if node.op_type == "QuantizeLinear"}
    quantisers = [node for node in signed.graph.node if node.op_type == "QuantizeLinear"]
    makers = {node.output[0]: node for node in signed.graph.node}
    sources = [n.input[0] if n.input[0] in shifted else makers[n.input[0]].input[0] for n in quantisers]
    assert len(sources) == 64
    values = run_plainly(signed, [*sources, *(node.output[0] for node in quantisers)], feeds(300))
    differing = 0
    for source, exact, levels in zip(sources, values[:64], values[64:], strict=True):
        node = next(n for n in unsigned.consumers[source] if n.op_type == "QuantizeLinear")
        scale, zero = unsigned.weight(node.input[1]), unsigned.weight(node.input[2])
        assert (levels.dtype, zero.dtype) == (np.int8, np.uint8)
        other = np.clip(np.rint(exact / scale) + int(zero), 0, 255) - 128
        difference = np.abs(other - levels)
        # An offset is subtracted in float32 before the rounding, or in whole levels after it: at the edge between two
        # levels it matters.
        assert difference.max() <= 1
        differing += int((difference > 0).sum()) if int(zero) != 128 else 0
        assert int(zero) != 128 or not difference.any()
    assert differing < 1e-4 * sum(exact.size for exact in values[:64])


def run_plainly(model: onnx.ModelProto, names: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(names, inputs))


def test_the_rewritten_encoder_gives_the_same_output(encoder: Path) -> None:
    plan = for_cpu(encoder, unsigned=True)
    assert plan is not None
    signed, unsigned = Session(encoder, BACKEND), Session(plan.model, BACKEND)
    for frames in (16, 500, 2000):
        left, right = (session.run(feeds(frames), ["outputs"])[0] for session in (signed, unsigned))
        assert cosine(left, right) > FLIPPED


# Kernels that fuse differently differ in the last place of float32, and now and then a value at the edge between two
# levels falls to the other side. A level is a 127th of the range: the outputs then differ by some 1e-4 in cosine, where
# int8 itself differs from float32 by 1e-3.
FLIPPED = 0.999


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.sum(left * right) / np.linalg.norm(left) / np.linalg.norm(right))


def test_offsets_become_zero_points(encoder: Path) -> None:
    """One-sided tensors: 16 after the SiLU of the feed-forwards, 8 after that of the convolutions."""
    graph = EditableGraph(load_model(encoder))
    assert fold_offsets(graph) == 24
    assert fold_offsets(graph) == 0
    assert unsigned_activations(graph) == 64
    assert unsigned_activations(graph) == 0
    graph.finish()
    left = [name for node in graph.graph.node for name in node.input if name.endswith((OFFSET, OFFSET_BIAS))]
    assert not left
    zeros = [int(graph.weight(n.input[2])) for n in graph.graph.node if n.op_type == "QuantizeLinear"]
    assert sum(zero == 128 for zero in zeros) == 40
    assert sum(0 <= zero < 120 for zero in zeros) == 24


def test_which_processors_want_uint8() -> None:
    assert wants_unsigned("x86_64")
    assert wants_unsigned("AMD64")
    assert not wants_unsigned("aarch64")


def test_a_small_float_encoder_is_left_alone(models: Path) -> None:
    assert for_cpu(models / "parakeet-tdt-tiny-onnx/encoder-model.onnx") is None
    assert for_cpu(models / "parakeet-tdt-tiny-onnx/encoder-model.int8.onnx") is None


@pytest.mark.parametrize("kind", ["float", "qdq"])
def test_a_large_encoder_loses_its_position_projections(
    kind: str, models: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_rewrite, "LARGE_BYTES", 0)
    path = encoder if kind == "qdq" else models / "parakeet-tdt-tiny-onnx/encoder-model.onnx"
    session, positions = open_on_cpu(path, BACKEND, limit=2500)
    assert positions is not None
    plain = Session(path, BACKEND)
    for frames in (800, 100, 1700):
        reference = plain.run(feeds(frames), ["outputs"])[0]
        out = session.run({**feeds(frames), **positions.rows(reference.shape[2])}, ["outputs"])[0]
        if kind == "float":
            np.testing.assert_array_equal(out, reference)
        else:
            assert cosine(out, reference) > FLIPPED


def test_a_recogniser_over_a_large_encoder_says_the_same(
    models: Path, golden_folder: Path, monkeypatch: pytest.MonkeyPatch, goldens: dict[str, dict[str, Any]]
) -> None:
    import tdt

    monkeypatch.setattr(cpu_rewrite, "LARGE_BYTES", 0)
    with tdt.load(models / "parakeet-tdt-tiny-onnx") as recogniser:
        for name in ("03_flite-rms", "11_long_35s", "06_digits_theo"):
            golden = goldens[name]
            assert recogniser.transcribe(golden_folder / golden["file"]).text == golden["text"]


def test_an_engine_for_another_provider_is_named_as_such(models: Path, tmp_path: Path) -> None:
    source = load_model(models / "parakeet-tdt-tiny-onnx/encoder-model.onnx")
    ports = list(source.graph.input), list(source.graph.output)
    names = [[port.name for port in side] for side in ports]
    node = onnx.helper.make_node("EPContext", *names, domain="com.microsoft", source="NvTensorRTRTXExecutionProvider")
    graph = onnx.helper.make_graph([node], "engine", *ports)
    path = tmp_path / "encoder-model.onnx"
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)]
    onnx.save_model(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
    assert read_graph(path).ops == {"EPContext": 1}
    with pytest.raises(ProviderError, match="tensorrt-rtx"):
        for_cpu(path)


def test_cuda_is_warned_about_as_an_imitation(encoder: Path, models: Path, caplog: pytest.LogCaptureFixture) -> None:
    from tdt.encoding.device_sessions import warn_of_imitation
    from tdt.model.finding import find_model

    for folder, provider, warned in (
        (encoder.parent, "cuda:0", True),
        (encoder.parent, "tensorrt:0,int8", False),
        (models / "parakeet-tdt-tiny-onnx", "cuda:0", False),
    ):
        caplog.clear()
        path = find_model(folder)[0].encoder
        warn_of_imitation(path.name, read_graph(path).quantization, Backend.parse(provider))
        assert ("imitates" in caplog.text) == warned
