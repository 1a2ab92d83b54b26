"""What is computed in which numbers, told from the provider, its options and the graph; TensorRT's float32 is TF32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tdt.loading import choose_backends
from tdt.model.finding import find_model
from tdt.onnxfile import GraphInfo, read_graph
from tdt.runtime.backend import Backend
from tdt.runtime.numbers import advice, computed_in

if TYPE_CHECKING:
    from pathlib import Path


def graph(monkeypatch: pytest.MonkeyPatch, quantization: str = "float", body: str = "float32") -> GraphInfo:
    """Return the bundled encoder as if it were of another kind."""
    monkeypatch.setattr(GraphInfo, "quantization", quantization)
    monkeypatch.setattr(GraphInfo, "body", body)
    return read_graph(find_model(None)[0].encoder)


@pytest.mark.parametrize(
    ("provider", "quantization", "body", "expected"),
    [
        ("cpu", "float", "float32", "fp32"),
        ("cpu", "dynamic", "float32", "int8"),
        ("cuda", "float", "float32", "fp32"),
        ("cuda,tf32", "float", "float32", "tf32"),
        ("cuda", "float", "float16", "fp16"),
        ("tensorrt", "float", "float32", "tf32"),
        ("tensorrt,fp16", "float", "float32", "fp16"),
        ("tensorrt,bf16", "float", "float32", "bf16"),
        ("tensorrt", "float", "float16", "fp16"),
        ("tensorrt", "float", "bfloat16", "bf16"),
        ("tensorrt,int8", "qdq", "float32", "int8"),
        ("tensorrt", "qdq", "float16", "int8"),
        ("tensorrt,int8", "float", "float32", "fp16"),
        ("tensorrt-rtx", "float", "float32", "tf32"),
        ("tensorrt-rtx", "qdq", "float32", "int8"),
    ],
)
def test_numbers_are_what_they_are(
    provider: str, quantization: str, body: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    assert computed_in(Backend.parse(provider), graph(monkeypatch, quantization, body)) == expected


@pytest.mark.parametrize("provider", ["tensorrt", "tensorrt-rtx", "cuda,tf32"])
def test_a_true_float32_is_asked_for_by_the_environment(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    assert computed_in(Backend.parse(provider), graph(monkeypatch)) == "fp32"


@pytest.mark.parametrize(
    ("provider", "quantization", "body", "said"),
    [
        ("tensorrt", "qdq", "float32", "Use tensorrt:0,int8"),
        ("tensorrt:1,fp16", "qdq", "float32", "Use tensorrt:1,int8"),
        ("tensorrt,int8", "qdq", "float16", "Use tensorrt:0 without it"),
        ("tensorrt,fp16", "float", "float16", "Use tensorrt:0 without it"),
        ("tensorrt,int8", "float", "float32", "Use tensorrt:0,fp16"),
        ("tensorrt,int8", "qdq", "float32", ""),
        ("tensorrt", "qdq", "float16", ""),
        ("tensorrt", "float", "float32", ""),
        ("cuda", "qdq", "float32", ""),
    ],
)
def test_a_poor_choice_is_told(
    provider: str, quantization: str, body: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = advice(Backend.parse(provider), graph(monkeypatch, quantization, body))
    assert said in found
    assert bool(said) == bool(found)


def test_it_is_told_at_load(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    graph(monkeypatch, "qdq")
    choose_backends(find_model(None)[0], "tensorrt:0", None, None, "native")
    assert "Use tensorrt:0,int8, which computes the rest in half precision" in caplog.text
    caplog.clear()
    choose_backends(find_model(None)[0], "tensorrt:0,int8", None, None, "native")
    assert not caplog.text


def test_a_quantised_encoders_body_is_read_from_the_graph(models: Path, eval_folder: Path, tmp_path: Path) -> None:
    from tdt.quantization.pipeline import quantize
    from tdt.quantization.recipe import Recipe

    folder = models / "parakeet-tdt-tiny-onnx"
    assert read_graph(folder / "encoder-model.onnx").body == "float32"
    for body in ("float32", "float16"):
        made = quantize(folder, [eval_folder], tmp_path / body, Recipe(body=body))  # type: ignore[arg-type]
        info = read_graph(find_model(made.folder)[0].encoder)
        assert (info.quantization, info.body) == ("qdq", body)
