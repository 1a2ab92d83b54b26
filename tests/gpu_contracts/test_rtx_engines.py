"""TensorRT-RTX parses and builds what `tdt quantize` writes, on a machine without a GPU."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import onnx
import pytest

pytest.importorskip("tensorrt_rtx_bindings", reason="the TensorRT-RTX wheels are not installed")

from tdt.commands import main
from tdt.errors import EngineBuildError
from tdt.model.finding import find_model
from tdt.quantization.engines.builder import build
from tdt.quantization.engines.folder import ENGINE_NAME, build_engine
from tdt.quantization.engines.targets import Shapes
from tdt.quantization.pipeline import quantize
from tdt.quantization.recipe import Recipe
from tdt.runtime.backend import Backend
from tdt.runtime.built_engine import REPORT_NAME, as_built

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def tiny(models: Path) -> Path:
    return models / "parakeet-tdt-tiny-onnx"


@pytest.fixture(scope="module")
def quantised(tiny: Path, eval_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quantize(tiny, [eval_folder], tmp_path_factory.mktemp("q") / "int8").folder


@pytest.fixture(scope="module")
def quantised_half(tiny: Path, eval_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = Recipe(body="float16", smoothquant="search")
    return quantize(tiny, [eval_folder], tmp_path_factory.mktemp("q") / "half", recipe).folder


def test_engine_for_both_targets_with_every_layer_in_int8(
    quantised: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "engine"
    assert main(["build-engine", str(quantised), "-o", str(folder)]) == 0
    report = json.loads((folder / REPORT_NAME).read_text())
    assert report["targets"] == ["sm_89", "sm_120"]
    assert report["layers"]["linear"] == {"int8": 80, "float32": 9}
    assert report["layers"]["attention"] == {"float32": 24}
    assert report["layers"]["convolution"] == {"float32": 13}
    assert report["bytes"] == (folder / ENGINE_NAME).stat().st_size > 5_000_000
    shown = capsys.readouterr()
    assert "80 int8" in shown.out
    assert "80 int8" in shown.err


def test_the_folder_is_a_model_with_an_engine_for_an_encoder(quantised: Path, tmp_path: Path) -> None:
    built = build_engine(quantised, tmp_path / "engine", targets=("sm_89",))
    files, spec = find_model(built.folder)
    _, expected = find_model(quantised)
    assert spec.pieces == expected.pieces
    assert (spec.n_mels, spec.encoder_dim, spec.subsampling) == (128, 144, 8)
    assert spec.max_encoder_frames == expected.max_encoder_frames == 2500
    (node,) = onnx.load(str(files.encoder)).graph.node
    attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    assert (node.op_type, node.domain) == ("EPContext", "com.microsoft")
    assert (built.folder / attributes["ep_cache_context"].decode()).is_file()
    assert attributes["embed_mode"] == 0
    assert attributes["source"] == b"NvTensorRTRTXExecutionProvider"
    loaded = as_built(files.encoder, Backend.parse("tensorrt-rtx"))
    assert (loaded.max_batch, loaded.max_seconds, loaded.opt_seconds) == (8, 40.0, 10.0)
    metadata = {entry.key: entry.value for entry in onnx.load(str(files.encoder)).metadata_props}
    assert metadata["computed_in"] == "int8"


def test_a_float16_body_keeps_its_int8_layers(quantised_half: Path, tmp_path: Path) -> None:
    built = build_engine(quantised_half, tmp_path / "engine", targets=("sm_120",))
    assert built.report["layers"]["linear"] == {"int8": 80, "float16": 9}
    assert built.report["layers"]["attention"] == {"float16": 24}


def test_the_float_model_has_no_int8_layer(tiny: Path, tmp_path: Path) -> None:
    shapes = Shapes(max_batch=1, opt_seconds=2.0, max_seconds=4.0)
    with pytest.raises(EngineBuildError, match="0 linear layers of 73 are int8"):
        build(tiny / "encoder-model.onnx", ["sm_89"], shapes, 128, min_int8=1)


def test_fewer_int8_layers_than_asked_fail(quantised: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build-engine", str(quantised), "-o", str(tmp_path / "engine"), "--min-int8", "81"]) == 1
    assert "80 linear layers of 89 are int8" in capsys.readouterr().err
    assert not (tmp_path / "engine").exists()


def test_the_dynamically_quantised_file_is_rejected(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["build-engine", str(tiny), "--precision", "int8", "-o", str(tmp_path / "engine")]
    assert main(arguments) == 1
    said = capsys.readouterr().err
    for operator in ("DynamicQuantizeLinear", "MatMulInteger", "ConvInteger"):
        assert operator in said
    assert "tdt quantize" in said


def test_unknown_targets_are_named(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["build-engine", str(tiny), "-o", str(tmp_path / "engine"), "--target", "sm_42"])
    assert stop.value.code == 2
    assert "sm_120" in capsys.readouterr().err
