"""What is handed to a device's provider: the prepared graph, whichever provider it is and wherever the weights lie."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import onnx
import pytest

from tdt.encoding import device_sessions
from tdt.encoding.device_sessions import open_on_device
from tdt.model.finding import find_model
from tdt.onnxfile import load_model
from tdt.runtime.backend import Backend
from tdt.surgery.editing import EditableGraph
from tdt.surgery.lengths import float_lengths

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What sessions are opened with, in place of opening them: there is no device here."""
    made: list[dict[str, Any]] = []

    def session(model: Any, backend: Backend, **options: Any) -> Any:
        made.append({"model": model, "backend": backend, **options})
        return SimpleNamespace(outputs=(), close=lambda: None)

    monkeypatch.setattr(device_sessions, "Session", session)
    here = device_sessions.runs_causal_convolutions
    asked = lambda backend: backend.provider == "cuda" or here(backend)  # noqa: E731  # as CUDA answers where it is
    monkeypatch.setattr(device_sessions, "runs_causal_convolutions", asked)
    return made


@pytest.mark.parametrize("provider", ["cuda:0", "tensorrt:0", "tensorrt:0,bf16", "tensorrt-rtx:0"])
@pytest.mark.parametrize("outside", [False, True], ids=["weights in the file", "weights outside"])
def test_every_provider_gets_integer_lengths(
    opened: list[dict[str, Any]], provider: str, outside: bool, tmp_path: Path
) -> None:
    files, spec = find_model(None)
    if outside:
        path = tmp_path / "encoder-model.onnx"
        onnx.save(load_model(files.encoder), path, save_as_external_data=True, location="weights.data")
        files = replace(files, encoder=path)
    sessions = open_on_device(files, spec, Backend.parse(provider))
    (made,) = opened
    assert sessions.tail is None
    assert made["external_folder"] == (tmp_path if outside else None)
    model = onnx.load_from_string(made["model"])
    assert [value.name for value in model.graph.output] == ["frames", "projected"]
    assert float_lengths(EditableGraph(model, tmp_path)) == []
    assert (made["profile"] is None) == provider.startswith("cuda")
    causal = sum(node.op_type == "CausalConvWithState" for node in model.graph.node)
    assert causal == (8 if provider.startswith("cuda") else 0)


def test_an_engine_built_ahead_is_loaded_from_its_file(opened: list[dict[str, Any]], tmp_path: Path) -> None:
    files, spec = find_model(None)
    source = load_model(files.encoder, weights=False).graph
    inputs, outputs = list(source.input), list(source.output)
    node = onnx.helper.make_node(
        "EPContext", [port.name for port in inputs], [port.name for port in outputs], domain="com.microsoft"
    )
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)]
    path = tmp_path / "encoder-model.onnx"
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", inputs, outputs), opset_imports=opsets), path)
    sessions = open_on_device(replace(files, encoder=path), spec, Backend.parse("tensorrt-rtx:0"))
    assert sessions.width == 160
    tail, engine = opened
    assert engine["model"] == path
    assert tail["name"].endswith("(projection)")
