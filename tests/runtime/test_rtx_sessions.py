"""TensorRT-RTX: compiled once and loaded afterwards, with the shapes of an engine that was built ahead.

The runtime and its plugin are stood in for: what they are asked for is what is looked at.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import onnx
import pytest
from onnx import TensorProto, helper

from tdt.errors import ProviderError
from tdt.model.finding import find_model
from tdt.onnxfile import read_graph
from tdt.runtime import built_engine, engine_cache, provider_options, providers
from tdt.runtime.backend import Backend
from tdt.runtime.built_engine import REPORT_NAME, as_built
from tdt.runtime.driver import Card, Driver
from tdt.runtime.numbers import COMPUTED_IN_KEY, computed_in

if TYPE_CHECKING:
    from collections.abc import Iterator

RTX = Backend.parse("tensorrt-rtx:0")
CARD = Driver((13, 0), "580.65.06", (Card("NVIDIA GeForce RTX 4090", (8, 9), 24 << 30),))


class Options(SimpleNamespace):
    """Session options that keep what they are told."""

    def __init__(self) -> None:
        super().__init__(entries={}, provider={})

    def add_session_config_entry(self, name: str, value: str) -> None:
        self.entries[name] = value

    def add_provider_for_devices(self, devices: list[Any], options: dict[str, str]) -> None:
        self.provider = options


class Runtime:
    """onnxruntime with the plugin: writes the compiled form where it is told to."""

    __version__ = "1.31.1"

    def __init__(self) -> None:
        self.opened: list[Any] = []
        self.broken = False

    def register_execution_provider_library(self, name: str, path: str) -> None:
        pass

    def get_available_providers(self) -> list[str]:
        return [provider_options.CPU]

    def get_ep_devices(self) -> list[Any]:
        return [SimpleNamespace(ep_name=provider_options.TENSORRT_RTX)]

    def InferenceSession(self, model: Any, options: Options) -> object:
        self.opened.append(model)
        if self.broken and str(model).endswith("_ctx.onnx"):
            raise RuntimeError("the engine is of another version")
        if options.entries.get("ep.context_enable") == "1":
            assert options.entries["ep.context_embed_mode"] == "0"
            Path(options.entries["ep.context_file_path"]).write_bytes(b"compiled")
        return object()


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    monkeypatch.setattr(providers, "rtx_library", lambda: Path("/plugin.so"))
    monkeypatch.setattr(engine_cache, "read_driver", lambda: CARD)
    monkeypatch.setattr(engine_cache, "rtx_version", lambda: "1.7.1")
    yield Runtime()
    providers._preloaded.discard(provider_options.TENSORRT_RTX)


def start(runtime: Runtime, backend: Backend, model: Any = b"graph") -> Options:
    options = Options()
    providers.start(runtime, model, options, backend, None, lambda: "abc")
    return options


def test_a_graph_is_compiled_once_and_loaded_afterwards(
    runtime: Runtime, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backend = replace(RTX, cache=tmp_path)
    first = start(runtime, backend)
    assert runtime.opened == [b"graph"]
    assert "can take minutes" in caplog.text
    caplog.clear()
    second = start(runtime, backend)
    assert runtime.opened[1] == first.entries["ep.context_file_path"]
    assert "ep.context_enable" not in second.entries
    assert not caplog.text
    assert first.provider["nv_runtime_cache_path"] == str(Path(runtime.opened[1]).parent)
    assert Path(runtime.opened[1]).parent.name.startswith("nvidia-geforce-rtx-4090-rtx-")


def test_a_compiled_form_that_is_refused_is_made_anew(
    runtime: Runtime, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backend = replace(RTX, cache=tmp_path)
    start(runtime, backend)
    runtime.broken = True
    assert start(runtime, backend).entries["ep.context_enable"] == "1"
    assert "cannot be used (the engine is of another version)" in caplog.text
    assert runtime.opened[-1] == b"graph"


def test_the_folder_follows_the_plugins_version(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    first = engine_cache.engine_name(runtime, RTX, None, "abc")
    monkeypatch.setattr(engine_cache, "rtx_version", lambda: "1.8.0")
    assert engine_cache.engine_name(runtime, RTX, None, "abc") != first


def built_ahead(folder: Path, **shapes: float) -> Path:
    """Write a graph that names an engine, and its report."""
    port = helper.make_tensor_value_info
    node = helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft", ep_cache_context="encoder.rtx.engine")
    graph = helper.make_graph([node], "encoder", [port("x", TensorProto.FLOAT, ["B"])], [port("y", 1, ["B"])])
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    )
    helper.set_model_props(model, {COMPUTED_IN_KEY: "int8"})
    onnx.save(model, folder / "encoder-model.onnx")
    report = {"tensorrt_rtx": "1.7.1.116", "shapes": shapes} if shapes else {}
    (folder / REPORT_NAME).write_text(json.dumps(report))
    return folder / "encoder-model.onnx"


def test_an_engine_built_ahead_is_not_compiled_again(
    runtime: Runtime, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = built_ahead(tmp_path, max_batch=1, opt_seconds=10.0, max_seconds=10.0)
    options = start(runtime, RTX, str(path))
    assert runtime.opened == [str(path)]
    assert not options.entries
    assert not caplog.text


def test_the_shapes_of_an_engine_built_ahead_count(tmp_path: Path) -> None:
    path = built_ahead(tmp_path, max_batch=2, opt_seconds=8.0, max_seconds=15.0)
    backend = as_built(path, RTX)
    assert str(backend) == "tensorrt-rtx:0,max_batch=2,max_seconds=15,opt_batch=1,opt_seconds=8"
    profile = provider_options.encoder_profile(["x", "n"], find_model(None)[1], backend)
    assert provider_options.shape_text(profile.most) == "x:2x128x1501,n:2"
    assert provider_options.shape_text(profile.usual) == "x:1x128x801,n:1"
    assert as_built(path, Backend.parse("tensorrt:0")) == Backend.parse("tensorrt:0")
    assert as_built(built_ahead(tmp_path), RTX) == RTX
    (tmp_path / REPORT_NAME).write_text("no json")
    assert as_built(path, RTX) == RTX


def test_what_an_engine_computes_in_is_stated(tmp_path: Path) -> None:
    assert computed_in(RTX, read_graph(built_ahead(tmp_path))) == "int8"


@pytest.mark.parametrize(("here", "said"), [("1.7.1", False), ("1.7.3", False), ("1.8.0", True), ("", False)])
def test_another_version_of_tensorrt_rtx_is_told(
    here: str, said: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(built_engine, "rtx_version", lambda: here)
    with caplog.at_level(logging.WARNING, logger="tdt"):
        as_built(built_ahead(tmp_path, max_batch=1, opt_seconds=8.0, max_seconds=15.0), RTX)
    assert ("was built with TensorRT-RTX 1.7.1.116" in caplog.text) == said


def test_a_missing_plugin_comes_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "rtx_library", lambda: None)
    with pytest.raises(ProviderError, match=r'pip install "parakeet-tdt\[rtx\]".*pip uninstall -y onnxruntime'):
        start(Runtime(), RTX)
