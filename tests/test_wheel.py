"""What ships: one top-level name, everything the commands need, at most 25 MB."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAX_BYTES = 27_000_000  # the bundled model and recordings alone are 23.5


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel built from the tracked files alone, as a release would be: through the sdist."""
    folder = tmp_path_factory.mktemp("wheel")
    checkout = folder / "checkout"
    checkout.mkdir()
    archive = subprocess.run(["git", "archive", "HEAD"], capture_output=True, check=True, cwd=ROOT).stdout
    subprocess.run(["tar", "-x", "-C", checkout], input=archive, check=True)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, checkout]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_wheel_owns_one_top_level_name(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert "tdt" in tops
    assert all(top == "tdt" or top.endswith(".dist-info") for top in tops)


def test_wheel_holds_every_source_and_model(wheel: zipfile.ZipFile) -> None:
    tracked = subprocess.run(
        ["git", "ls-tree", "-r", "--name-only", "HEAD", "kernels", "tdt"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout.split()
    expected = {f"tdt/{name}" if name.startswith("kernels/") else name for name in tracked if name != "tdt/kernels"}
    assert expected <= set(wheel.namelist())


def test_wheel_holds_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = [name for name in wheel.namelist() if ".dist-info/" not in name]
    assert not [name for name in names if "/tests/" in name or name.endswith((".pyc", ".nbi", ".nbc"))]


def test_wheel_is_small_enough(wheel: zipfile.ZipFile) -> None:
    unpacked = sum(info.file_size for info in wheel.infolist())
    assert unpacked <= MAX_BYTES, f"{unpacked} bytes would be installed"


def test_wheel_carries_the_licences(wheel: zipfile.ZipFile) -> None:
    names = {Path(name).name for name in wheel.namelist() if ".dist-info/licenses/" in name}
    assert {"LICENSE", "NOTICE"} <= names


def test_command_and_type_marker_are_declared(wheel: zipfile.ZipFile) -> None:
    entry = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "tdt = tdt.commands:main" in wheel.read(entry).decode()
    assert "tdt/py.typed" in wheel.namelist()
