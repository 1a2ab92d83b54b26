"""`tdt inspect` and the description behind it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import onnx
import pytest

from tdt.commands import main
from tdt.model.finding import inspect_model
from tdt.model.inspection import describe, render

from .. import tiny_models
from ..tiny_models import LAYOUTS, Shape

if TYPE_CHECKING:
    from pathlib import Path


def test_description_of_the_tiny_model(model_folder: Path) -> None:
    described = describe(inspect_model(model_folder))
    assert described.ok
    assert (described.mel_bins, described.vocabulary, described.blank_id) == (128, 257, 256)
    assert (described.max_encoder_frames, described.max_seconds) == (2500, 200.0)
    assert {part.quantization for part in described.parts} == {"float"}
    text = render(described)
    for wanted in ("128 mel bins", "2500 frames = 200 s", "0, 1, 2, 3, 4", "2 LSTM layers of 160", "float32"):
        assert wanted in text


@pytest.mark.parametrize("layout", LAYOUTS)
def test_json_is_one_object_with_everything(tmp_path: Path, layout: str, capsys: pytest.CaptureFixture[str]) -> None:
    shape = Shape(vocab=60, durations=(0, 2, 4), named_durations=True)
    folder = tiny_models.write(tmp_path / "m", shape, layout, external=True)
    sidecar = {"method": "static", "clips": 12, "nested": {"a": [1, 2]}}
    (folder / "quantization.json").write_text(json.dumps(sidecar))
    assert main(["inspect", str(folder), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["layout"] == layout
    assert shown["durations"] == [0, 2, 4]
    assert shown["quantization"] == sidecar
    assert shown["parts"][0]["external_bytes"] > 0
    assert shown["ok"] is True
    assert main(["inspect", str(folder)]) == 0
    assert "quantised: method" in capsys.readouterr().out


def test_int8_files_are_shown_for_what_they_are(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(models / "sherpa-onnx-parakeet-tdt-tiny")
    assert main(["inspect", folder, "--precision", "int8"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("dynamically quantised") == 3
    assert "constant batch of 1" in shown


def test_a_failed_check_is_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny_models.write(tmp_path / "m", Shape(vocab=60))
    config = json.loads((folder / "config.json").read_text()) | {"subsampling_factor": 4}
    (folder / "config.json").write_text(json.dumps(config))
    assert main(["inspect", str(folder)]) == 1
    assert "CHECK: subsampling fits strides" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["{", "[1]", "[" * 50_000])
def test_a_broken_sidecar_is_a_failed_check(tmp_path: Path, content: str) -> None:
    folder = tiny_models.write(tmp_path / "m", Shape(vocab=60))
    (folder / "quantization.json").write_text(content)
    assert not describe(inspect_model(folder)).ok


def test_errors_are_status_1_and_usage_is_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tmp_path / "none")]) == 1
    assert "no such folder" in capsys.readouterr().err
    folder = tiny_models.write(tmp_path / "m", Shape(vocab=60))
    for table in ("-1,2,3,4,5", "x", ""):
        with pytest.raises(SystemExit) as stop:
            main(["inspect", str(folder), f"--durations={table}"])
        assert stop.value.code == 2


def test_a_fixed_batch_is_shown(tmp_path: Path) -> None:
    folder = tiny_models.write(tmp_path / "m", Shape(vocab=60))
    model = onnx.load(folder / "encoder-model.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, folder / "encoder-model.onnx")
    failed = [check for check in describe(inspect_model(folder)).checks if not check.ok]
    assert [check.name for check in failed] == ["encoder takes batches"]


def test_placement_lists_every_node_by_provider(model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(model_folder), "--placement"]) == 0
    shown = capsys.readouterr().out
    assert "CPUExecutionProvider" in shown
    assert "MatMul" in shown
    assert main(["inspect", str(model_folder), "--placement", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["provider"] == "cpu"
    roles = {graph["role"]: graph for graph in values["placement"]}
    assert set(roles) in ({"encoder", "decoder_joint"}, {"encoder", "decoder", "joiner"})
    assert roles["encoder"]["providers"]["CPUExecutionProvider"]["Softmax"] == 8
    assert all(not graph["computing_on_cpu"] for graph in roles.values())


def test_placement_marks_what_computes_on_the_cpu() -> None:
    from tdt.runtime.node_report import GraphPlacement
    from tdt.runtime.node_report import render as render_placement

    placed = GraphPlacement(
        "encoder",
        "encoder.onnx",
        {"CUDAExecutionProvider": {"MatMul": 97}, "CPUExecutionProvider": {"Gather": 9, "MatMulInteger": 19}},
        {"MatMulInteger": 19},
    )
    text = render_placement([placed])
    assert "CUDAExecutionProvider: 97 nodes: 97 MatMul" in text
    assert "CHECK: 19 of them compute on the CPU: 19 MatMulInteger" in text


def test_placement_on_a_provider_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "--placement", "--provider", "cuda:99"]) == 1
    assert "cannot start" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["inspect", "--placement", "--provider", "abacus"])
    assert stop.value.code == 2
