"""tools/make_bench_model on the decoder alone, 73 MB of 2.5 GB: reproducible, as described, careful with DIR."""

from __future__ import annotations

import importlib.util
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

TOOL = Path(__file__).resolve().parents[1] / "tools/make_bench_model"
DECODER = "decoder_joint-model"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The tool as a module that knows of the decoder only, whose weights get a file of their own."""
    loader = SourceFileLoader("make_bench_model", str(TOOL))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    monkeypatch.setattr(module, "EXTERNAL", {DECODER: True})
    return module


def test_two_runs_write_the_same_bytes(tool: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.main([str(tmp_path / "a")]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"{tmp_path / 'a'} takes 0.07 GB" in shown.err
    assert tool.main([str(tmp_path / "b"), "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["config.json", f"{DECODER}.onnx", f"{DECODER}.onnx.data", "vocab.txt"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    written = sum(path.stat().st_size for path in (tmp_path / "a").iterdir())
    assert written == pytest.approx(tool.size_bytes(), rel=0.01)


def test_weights_outside_and_inside_are_as_described(tool: Any, tmp_path: Path) -> None:
    described = tool.weights_of(DECODER)["initializers"]
    weights = []
    for outside in (True, False):
        folder = tmp_path / str(outside)
        folder.mkdir()
        tool.write_graph(DECODER, folder, outside, lambda line: None)
        onnx.checker.check_model(str(folder / f"{DECODER}.onnx"))
        graph = onnx.load(folder / f"{DECODER}.onnx").graph
        weights.append({tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer})
    assert set(described) < set(weights[0])
    for name, values in weights[0].items():
        np.testing.assert_array_equal(values, weights[1][name], err_msg=name)
        if name in described:
            assert values.shape == tuple(described[name]["shape"])
            error = described[name]["std"] / values.size**0.5  # of the mean; the deviation's is smaller
            assert values.mean(dtype=np.float64) == pytest.approx(described[name]["mean"], abs=5 * error)
            assert values.std(dtype=np.float64) == pytest.approx(described[name]["std"], abs=5 * error)
    assert len({values.tobytes()[:64] for values in weights[0].values()}) == len(weights[0])  # no two drawn alike


def test_the_position_table_is_of_sines_and_cosines(tool: Any) -> None:
    table = tool.position_table(7, 6)
    assert (table.shape, table.dtype) == ((1, 7, 6), np.float32)
    for row, position in enumerate((3, 2, 1, 0, -1, -2, -3)):
        for k in range(3):
            angle = position / 10000 ** (2 * k / 6)
            # float32 angles of at most 3, and float32 functions of them
            np.testing.assert_allclose(table[0, row, 2 * k : 2 * k + 2], [np.sin(angle), np.cos(angle)], atol=1e-6)


def test_what_lies_in_the_folder_is_safe(tool: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "vocab.txt"
    mine.write_text("mine")
    for folder, said in ((tmp_path, "is not empty"), (mine, "is a file")):
        with pytest.raises(SystemExit) as end:
            tool.main([str(folder)])
        assert end.value.code == 2
        assert said in capsys.readouterr().err
    assert mine.read_text() == "mine"
    assert tool.main([str(tmp_path), "--overwrite", "-q"]) == 0
    assert mine.read_bytes() == (TOOL.parent / "bench_model/vocab.txt").read_bytes()


class Disk(NamedTuple):
    total: int
    used: int
    free: int


def test_a_full_disk_is_told_before_anything_is_written(
    tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tool.shutil, "disk_usage", lambda folder: Disk(10**9, 9 * 10**8, 10**8))
    assert tool.main([str(tmp_path / "model")]) == 1
    assert "0.10 GB are free. Choose another disk" in capsys.readouterr().err
    assert list((tmp_path / "model").iterdir()) == []


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), 130), (OSError(5, "Input/output error"), 1)])
def test_nothing_stays_of_a_run_that_ends_early(
    error: BaseException, status: int, tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(tool, "put_outside", fail)
    assert tool.main([str(tmp_path / "model"), "-q"]) == status
    assert list((tmp_path / "model").iterdir()) == []
