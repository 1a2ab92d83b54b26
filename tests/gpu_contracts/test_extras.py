"""Each extra installs exactly one CUDA major. Real: pip's own resolution and the installed wheels' metadata."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXTRAS: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def majors_in(names: set[str]) -> set[str]:
    """Return the CUDA majors that distribution names carry: -cu12, -cuda13x, -cu13 …"""
    found = (re.search(r"-cu(?:da)?(\d\d)", name) for name in names)
    return {match.group(1) for match in found if match}


@pytest.mark.parametrize("extra", [name for name in EXTRAS if name.startswith("cuda")])
def test_pins_name_one_cuda_major(extra: str) -> None:
    text = " ".join(EXTRAS[extra])
    named = majors_in(set(re.findall(r"[\w\[\],.-]+", text.replace("[cuda", "-cuda"))))
    assert named == {extra[4:6]}


def test_onnxruntime_pins_do_not_overlap() -> None:
    # onnxruntime-gpu is built for CUDA 12 up to 1.26 and for CUDA 13 from 1.27; 1.27's extras have odd names.
    assert "onnxruntime-gpu[cuda,cudnn]>=1.24,<1.27" in EXTRAS["cuda12"]
    assert "onnxruntime-gpu[cuda,cudnn]>=1.28" in EXTRAS["cuda13"]


@pytest.mark.parametrize("extra", [name for name in EXTRAS if name.startswith("cuda")])
def test_tensorrt_is_a_10(extra: str) -> None:
    # Every onnxruntime-gpu wheel up to 1.31 links libnvinfer.so.10; TensorRT 11 cannot be loaded by it.
    pins = [pin for pin in EXTRAS[extra] if pin.startswith("tensorrt")]
    assert all(pin.endswith(",<11") for pin in pins)
    assert bool(pins) == extra.endswith("-tensorrt")


@pytest.mark.parametrize("extra", ["cuda12", "cuda13"])
def test_pip_resolves_one_cuda_major(extra: str, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--dry-run",
        "--ignore-installed",
        "--report",
        report,
        f"{ROOT}[{extra}]",
    ]
    subprocess.run([*map(str, command)], check=True, capture_output=True, text=True)
    installed = json.loads(report.read_text())["install"]
    versions = {item["metadata"]["name"].lower(): item["metadata"]["version"] for item in installed}
    assert majors_in(set(versions)) == {extra[4:6]}
    runtime = versions.get("nvidia-cuda-runtime") or versions["nvidia-cuda-runtime-cu12"]
    assert runtime.split(".")[0] == extra[4:6]


def test_importing_the_package_loads_no_cuda_library() -> None:
    # Here they are all installed: CuPy, CUDA's libraries, TensorRT-RTX.
    code = "import tdt, sys; print(open('/proc/self/maps').read(), sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not re.findall(r"lib(?:cu(?:da|blas|dnn|fft|rand)|nv)\w*\.so|cupy|tensorrt|onnxruntime", loaded)


def test_this_environment_has_one_cuda_major() -> None:
    names = {(item.metadata["Name"] or "").lower() for item in metadata.distributions()}
    assert len(majors_in(names)) == 1
