"""Every package that is imported is declared, and librosa's numbers are ours whichever of its versions is there."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [*sorted((ROOT / "tdt").rglob("*.py")), *sorted((ROOT / "kernels").rglob("*.py"))]
# Where an import is named otherwise than what is installed.
DISTRIBUTIONS = {
    "google": {"protobuf"},
    "cupy": {"cupy-cuda12x", "cupy-cuda13x"},
    "cupyx": {"cupy-cuda12x", "cupy-cuda13x"},
    "llvmlite": {"numba"},  # one is made for the other: numba pins its version
    "onnxruntime": {"onnxruntime", "onnxruntime-gpu"},
    "pynvml": {"nvidia-ml-py"},
    "tensorrt": {"tensorrt-cu12", "tensorrt-cu13"},
    "whisper_normalizer": {"whisper-normalizer"},
    "onnx_asr": {"onnx-asr"},
    "yaml": {"pyyaml"},
    "sherpa_onnx": {"sherpa-onnx"},
    "cuda": {"cupy-cuda12x", "cupy-cuda13x"},
}
# Offered by NVIDIA's index or by other means, asked for by name in an error where absent.
ASKED_FOR = {"tensorrt_rtx", "tensorrt_rtx_bindings"}


def normal(requirement: str) -> str:
    """Return the distribution's name in a requirement."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match, requirement
    return match.group().lower().replace("_", "-")


def declared() -> tuple[set[str], set[str]]:
    """Return what is always installed, and what an extra installs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [name for names in project["optional-dependencies"].values() for name in names]
    return {normal(name) for name in project["dependencies"]}, {normal(name) for name in extras}


def imported(path: Path) -> set[str]:
    """Return the packages that a file imports anywhere, but for those that only a type checker reads."""
    found: set[str] = set()

    def walk(node: ast.AST) -> None:
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
        for child in ast.iter_child_nodes(node):
            walk(child)

    walk(ast.parse(path.read_text(encoding="utf-8")))
    return found - sys.stdlib_module_names - {"tdt", "__future__"}


def test_every_import_is_declared() -> None:
    always, extra = declared()
    users: dict[str, list[str]] = {}
    for path in SOURCES:
        for name in imported(path):
            users.setdefault(name, []).append(str(path.relative_to(ROOT)))
    unknown = {
        name: files
        for name, files in users.items()
        if not DISTRIBUTIONS.get(name, {name.lower().replace("_", "-")}) & (always | extra) and name not in ASKED_FOR
    }
    assert not unknown, "declare it in pyproject.toml, or do without"
    assert {"av", "soundfile", "soxr", "numpy"} <= set(users) & always


def test_what_no_file_imports_is_not_declared() -> None:
    always, _ = declared()
    used = {name for path in SOURCES for name in imported(path)}
    needed = {name for used_name in used for name in DISTRIBUTIONS.get(used_name, {used_name.replace("_", "-")})}
    assert always <= needed


def test_undeclared_imports_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        "def f():\n    import audioread.ffdec\n    from yaml import load\n    import os, numpy.fft\n"
    )
    assert imported(tmp_path / "a.py") == {"audioread", "yaml", "numpy"}


def test_what_audioread_needs_is_not_needed() -> None:
    """It imports `aifc` and its like, which Python 3.13 no longer has, and starts a program."""
    assert not any("audioread" in imported(path) for path in SOURCES)


def test_librosas_version_is_one_that_is_tried() -> None:
    assert version("librosa").split(".")[:2] in (["0", "11"], ["1", "0"])


@pytest.mark.parametrize("n_mels", [40, 64, 80, 100, 128])
def test_filterbanks_of_librosa_are_slaneys(n_mels: int) -> None:
    """What comes from librosa is what its documentation says: triangles on Slaney's scale, area 2 over width."""
    from tdt.kernels.logmel.filterbank import mel_filterbank

    def hertz(mels: np.ndarray) -> np.ndarray:
        linear = mels * 200 / 3
        return np.where(mels < 15, linear, 1000 * np.exp((mels - 15) * np.log(6.4) / 27))

    top = 15 + 27 * np.log(8) / np.log(6.4)  # 8000 Hz
    edges = hertz(np.linspace(0, top, n_mels + 2))
    bins = np.arange(257) * 16000 / 512
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    expected = np.maximum(0, np.minimum(rising, falling)) * 2 / (edges[2:] - edges[:-2])[:, None]
    np.testing.assert_allclose(mel_filterbank(n_mels), expected, atol=5e-7)
