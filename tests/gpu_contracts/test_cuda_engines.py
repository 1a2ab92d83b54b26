"""TensorRT's engines: what `tdt build-engine` builds is what `tdt.load` finds, and which engine runs which batch.

Real: everything up to the session, over the CUDA provider. Not real: TensorRT; CUDA runs the graph in its place, and a
session made for TensorRT leaves the file that TensorRT would.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tdt
from tdt.commands import main
from tdt.encoding.device_encoder import DeviceEncoder
from tdt.encoding.encoder import probe_batching
from tdt.errors import EngineBuildError
from tdt.model.finding import find_model
from tdt.quantization.engines import on_card
from tdt.quantization.engines.on_card import build_on_card
from tdt.runtime import engine_cache, providers
from tdt.runtime.backend import Backend
from tdt.stages import Features

if TYPE_CHECKING:
    from collections.abc import Callable

TUNED = ("trt_profile_min_shapes", "trt_profile_opt_shapes", "trt_profile_max_shapes")


class StandIn:
    """CUDA in TensorRT's place; notes the options of each engine, and whether it was there."""

    def __init__(self) -> None:
        self.opened: list[tuple[bool, dict[str, str]]] = []

    def create(self, ort: Any, model: Any, options: Any, backend: Backend, given: list[Any]) -> Any:
        if backend.provider == "tensorrt":
            (_, trt), given = given[0], given[1:]
            folder = Path(trt["trt_engine_cache_path"])
            self.opened.append((any(folder.glob("*.engine")), trt))
            (folder / "TensorrtExecutionProvider_TRTKernel_graph_0_0.engine").touch()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL  # CUDA needs its rewriting
        return ort.InferenceSession(model, options, providers=given, enable_fallback=0)


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    made = StandIn()
    monkeypatch.setattr(providers, "_create", made.create)
    monkeypatch.setattr(providers, "provider_load_error", lambda *_: "")
    # The probe compares numbers, which mean nothing here.
    monkeypatch.setattr("tdt.encoding.device_encoder.probe_batching", lambda *_, **__: "together")
    return made


@pytest.mark.parametrize(
    "provider", ["tensorrt:0", "tensorrt:0,int8,max_batch=4,max_seconds=20", "tensorrt:0,fp16,engines=2,max_batch=32"]
)
def test_a_model_that_is_loaded_finds_the_engine_that_was_built(
    provider: str, tensorrt: StandIn, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    built = build_on_card(None, tmp_path / "built", provider)
    made = [there for there, _ in tensorrt.opened]
    engines = Backend.parse(provider).engines
    assert made == [False] * engines + [True] * engines
    assert len(built.report["engines"]) == engines
    tensorrt.opened.clear()
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="tdt"), tdt.load(built.folder, provider=built.provider):
        pass
    assert [there for there, _ in tensorrt.opened] == [True] * engines
    assert "building" not in caplog.text
    # Also from where the folder was moved to, on another card of the kind.
    moved = built.folder.rename(tmp_path / "moved")
    tensorrt.opened.clear()
    backend = replace(Backend.parse(built.provider), cache=moved / on_card.ENGINES)
    DeviceEncoder(*find_model(moved), backend).close()
    assert [there for there, _ in tensorrt.opened] == [True] * engines


def test_an_engine_that_would_not_be_found_is_no_success(
    tensorrt: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = iter(f"engine-{number}" for number in range(9))
    monkeypatch.setattr(engine_cache, "engine_name", lambda *_: next(names))
    with pytest.raises(EngineBuildError, match=r"built engine-0 in .* for the finished folder engine-1"):
        build_on_card(None, tmp_path / "built", "tensorrt:0")


def test_the_commands_options_count(tensorrt: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(find_model(None)[0].folder)
    arguments = ["--provider", "tensorrt:0", "--max-batch", "4", "--max-seconds", "20", "--json"]
    assert main(["build-engine", model, "-o", str(tmp_path / "built"), *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["provider"].startswith("tensorrt:0,cache=")
    assert {options[TUNED[2]] for _, options in tensorrt.opened} == {"audio_signal:4x128x2001,length:4"}


def features(batch: int) -> Features:
    return Features(np.zeros((batch, 128, 320), np.float32), np.full(batch, 320))


def test_two_engines_are_chosen_by_the_batch(tensorrt: StandIn, tmp_path: Path) -> None:
    backend = Backend.parse(f"tensorrt:0,fp16,engines=2,max_batch=32,cache={tmp_path}")
    encoder = DeviceEncoder(*find_model(None), backend)
    found = [tuple(options[name].split(",")[0].partition(":")[2] for name in TUNED) for _, options in tensorrt.opened]
    assert found == [("1x128x16", "32x128x2001", "32x128x4001"), ("1x128x16", "1x128x1001", "1x128x4001")]
    alone = encoder._alone
    assert alone is not None
    for batch, sessions in ((1, alone), (2, encoder._sessions), (32, encoder._sessions)):
        encoder.encode(features(batch))
        bound = encoder._buffers[batch, 320].bindings[0]
        assert bound._session is sessions.session
    encoder.close()


def test_one_engine_is_the_default(tensorrt: StandIn, tmp_path: Path) -> None:
    encoder = DeviceEncoder(*find_model(None), Backend.parse(f"tensorrt:0,cache={tmp_path}"))
    assert encoder._alone is None
    assert len(tensorrt.opened) == 1
    encoder.close()


def test_the_probe_knows_that_tensorrt_rounds(
    tensorrt: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[Any] = []

    def probe(run: Callable[..., Any], n_mels: int, numbers: Any, **options: Any) -> str:
        asked.append(numbers)
        return "same length"

    assert probe_batching is not probe
    monkeypatch.setattr("tdt.encoding.device_encoder.probe_batching", probe)
    for provider, numbers in (("tensorrt:0", "tf32"), ("tensorrt:0,fp16", "fp16")):
        encoder = DeviceEncoder(*find_model(None), Backend.parse(f"{provider},cache={tmp_path}"))
        encoder.encode(features(2))
        encoder.close()
        assert asked.pop() == numbers
        assert f"on {provider},cache={tmp_path} in {numbers}: padding changes what a clip gives" in caplog.text
