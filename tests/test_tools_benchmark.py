"""tools/benchmark.py with the real peers on the tiny model, both layouts; two runs a row: the figures mean nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CLIP = ROOT / "tdt/models/recordings/15_hello_world.flac"


def benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools/benchmark.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_peers_run_on_the_same_clips(models: Path, tmp_path: Path) -> None:
    out = tmp_path / "b.json"
    said = tmp_path / "said.tsv"
    said.write_text("15_hello_world.flac\tHello world. Testing one, two, three.\n")
    folders = [str(models / name) for name in ("parakeet-tdt-tiny-onnx", "sherpa-onnx-parakeet-tdt-tiny")]
    models = [word for folder in folders for word in ("--model", folder)]
    budget = ["--min-runs", "2", "--min-seconds", "0.01", "--length", "3", "--precision", "float32"]
    done = benchmark(str(CLIP), *models, *budget, "--references", str(said), "--format", "json", "-o", str(out))
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())["rows"]
    assert [row["contender"] for row in rows] == ["tdt", "onnx-asr", "tdt", "sherpa-onnx"]
    # All of them get this clip right.
    assert [row["word_error_rate"] for row in rows] == [0.0] * 4
    assert all(row["seconds"]["samples"] and row["peak_bytes"] > 0 for row in rows)
    assert set(rows[0]["faster_than"]) == {"onnx-asr"}
    assert set(rows[2]["faster_than"]) == {"sherpa-onnx"}
    assert done.stderr.count("BEAT onnx-asr") + done.stderr.count("beats onnx-asr") == 1


@pytest.mark.slow
def test_quick_needs_no_folder(tmp_path: Path) -> None:
    out = tmp_path / "b.json"
    budget = ["--min-runs", "2", "--min-seconds", "0.01", "--precision", "int8"]
    done = benchmark("--quick", *budget, "--format", "json", "-o", str(out))
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())["rows"]
    assert {(row["contender"], row["precision"]) for row in rows} == {("tdt", "int8"), ("onnx-asr", "int8")}
    assert len(rows) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--against", "nobody"], "onnx-asr, sherpa-onnx"),
        (["--precision", "float8"], "float32, float16, int8"),
        (["--batch", "many"], "numbers separated by commas"),
        (["-o", "no/such/folder/x"], "can be written"),
    ],
)
def test_usage_errors_are_found_before_anything_runs(arguments: list[str], message: str) -> None:
    done = benchmark(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
