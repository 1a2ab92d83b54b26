"""The float16 encoder on the real CUDA provider: a kernel for every node, and no casts around norms and softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tdt.encoding.device_sessions import open_on_device
from tdt.model.finding import find_model
from tdt.onnxfile import load_model
from tdt.quantization.half_model import to_half
from tdt.runtime import placement, provider_options
from tdt.runtime.backend import Backend
from tdt.runtime.session import Session
from tdt.surgery.editing import EditableGraph
from tdt.surgery.half_islands import narrow_islands
from tdt.surgery.prepare import prepare_encoder

if TYPE_CHECKING:
    from collections import Counter
    from pathlib import Path

    import onnx

CUDA = Backend.parse("cuda:0")


@pytest.fixture(scope="module")
def half(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = models / "parakeet-tdt-tiny-onnx"
    return to_half(source, tmp_path_factory.mktemp("half") / "fp16").folder / "encoder-model.fp16.onnx"


def counted(model: Path | onnx.ModelProto) -> tuple[Counter[str], Any]:
    """Operators on CUDA, and computing ones on the CPU."""
    given = model.SerializeToString() if not hasattr(model, "exists") else model
    nodes = Session(given, CUDA, cpu_nodes="allow").placement()
    return placement.count(nodes)[provider_options.CUDA], placement.computing_on_cpu(nodes)


def test_every_computing_node_of_the_float16_encoder_is_on_cuda(half: Path) -> None:
    on_cuda, on_cpu = counted(half)
    assert not on_cpu
    expected = {"MatMul": 113, "Conv": 13, "Softmax": 8, "LayerNormalization": 40, "Pad": 16, "Sigmoid": 32}
    assert {name: on_cuda[name] for name in expected} == expected


def test_without_its_islands_it_has_no_more_nodes_than_the_float32_encoder(half: Path, models: Path) -> None:
    plain = load_model(models / "parakeet-tdt-tiny-onnx/encoder-model.onnx")
    prepare_encoder(plain)
    wide, _ = counted(half)
    model = load_model(half)
    narrow_islands(EditableGraph(model))
    narrow, on_cpu = counted(model)
    assert not on_cpu
    assert wide["Cast"] - narrow["Cast"] >= 85
    assert narrow["LayerNormalization"] == 40
    assert narrow.total() <= counted(plain)[0].total() + 12


def test_the_recogniser_s_encoder_is_narrow_and_causal_on_cuda(half: Path) -> None:
    sessions = open_on_device(*find_model(half.parent), CUDA)
    nodes = sessions.session.placement()
    on_cuda = placement.count(nodes)[provider_options.CUDA]
    assert not placement.computing_on_cpu(nodes)
    assert on_cuda["CausalConvWithState"] == 8
    assert on_cuda["Cast"] <= 14
    assert sessions.computed_in == "fp16"
    sessions.close()
