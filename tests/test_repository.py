"""The repository stands alone: small enough to carry whole, nothing leads out of it, its data is accounted for."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from . import parakeet_tiny

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "tests/data"
MAX_DATA_BYTES = 25_000_000
MAX_CHECKOUT_BYTES = 57_000_000
# A folder beside the checkout, or a place on somebody's machine.
OUTSIDE = re.compile(r"\.\./shared\b|(?<!\w)shared/\w|(?<![\w.~-])/(?:work|home|root|Users)/[\w.]")


def tracked() -> list[Path]:
    """Return the tracked files that are there; links as links."""
    names = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    return [ROOT / name for name in names.split("\0") if name and os.path.lexists(ROOT / name)]


def bytes_of(paths: list[Path]) -> int:
    return sum(path.lstat().st_size for path in paths)


def test_the_data_of_the_tests_stays_small() -> None:
    assert bytes_of(list(DATA.rglob("*"))) <= MAX_DATA_BYTES


def test_a_checkout_can_be_carried_anywhere() -> None:
    assert bytes_of(tracked()) <= MAX_CHECKOUT_BYTES


def test_no_link_leads_out() -> None:
    links = [path for path in tracked() if path.is_symlink()]
    assert ROOT / "tdt/kernels" in links
    for link in links:
        assert link.resolve(strict=True).is_relative_to(ROOT), link


def test_no_text_names_a_place_outside() -> None:
    found = []
    for path in tracked():
        content = b"" if path.is_symlink() else path.read_bytes()
        if b"\0" in content:
            continue
        for number, line in enumerate(content.decode("utf-8", "replace").split("\n"), start=1):
            if OUTSIDE.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line",
    ["see ..|shared|models", "`shared|models|eval`", 'Path("|home|me|x")', "cd |work|main", "(|root|.cache|tdt)"],
)
def test_places_outside_are_noticed(line: str) -> None:
    assert OUTSIDE.search(line.replace("|", "/"))


def test_every_voice_is_accounted_for() -> None:
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    with (DATA / "eval/transcripts.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert {row["file"] for row in rows} == {path.name for path in (DATA / "eval").glob("*.flac")}
    for voice in {row["voice"] for row in rows}:
        assert voice in notice


def test_the_encoders_of_both_layouts_are_one_graph(models: Path) -> None:
    said = json.loads((DATA / "parakeet-tdt-tiny/sherpa-metadata.json").read_text(encoding="utf-8"))
    ours, theirs = (models / name for name in parakeet_tiny.FOLDERS.values())
    for suffix in (".onnx", ".int8.onnx"):
        plain, told = onnx.load(ours / f"encoder-model{suffix}"), onnx.load(theirs / f"encoder{suffix}")
        assert told.graph == plain.graph
        assert (told.ir_version, told.opset_import) == (plain.ir_version, plain.opset_import)
        assert {entry.key: entry.value for entry in told.metadata_props} == said


def test_the_tool_writes_the_models_of_the_tests(models: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "tools/make_tiny_model"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(tmp_path / name) for name in parakeet_tiny.FOLDERS.values()]
    written = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert written == {path.relative_to(models): path.read_bytes() for path in models.rglob("*.*")}
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stdout) == (2, "")
    assert "is there already" in again.stderr
