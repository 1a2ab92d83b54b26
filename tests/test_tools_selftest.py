"""tools/selftest-gpu as far as a machine without a card can try it: order, time limits, what is left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SELFTEST = ROOT / "tools/selftest"
FIGURE = "from common import emit; emit(decoder='card float32', batch=8, tokens=147, us_per_token=9.6, rtfx=7040)"


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SELFTEST))
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{SELFTEST}", prepend=os.pathsep)
    import run

    return run


def section(runner: Any, name: str, code: str, seconds: int = 60) -> Any:
    return runner.Section(name, "a section of the tests", (sys.executable, "-c", code), seconds)


def test_sections_stand_alone_and_the_report_grows(runner: Any, tmp_path: Path) -> None:
    report, models = runner.Report(tmp_path / "report.txt"), runner.Models(None, None, tmp_path)
    sections = [
        section(runner, "decode", FIGURE),
        section(runner, "broken", "print('it begins'); raise SystemExit(3)"),
        section(runner, "slow", "import time; print('waits', flush=True); time.sleep(60)", seconds=1),
    ]
    outcomes = []
    for place, one in enumerate(sections):
        outcomes.append(runner.run(one, models, report, float("inf")))
        written = json.loads((tmp_path / "report.json").read_text())
        assert len(written["sections"]) == place + 1
    assert outcomes == [True, False, False]
    statuses = {name: found["status"] for name, found in written["sections"].items()}
    assert statuses == {"decode": "well", "broken": "exit status 3", "slow": "out of time"}
    assert written["sections"]["decode"]["figures"] == [
        {"decoder": "card float32", "batch": 8, "tokens": 147, "us_per_token": 9.6, "rtfx": 7040}
    ]
    text = (tmp_path / "report.txt").read_text()
    assert "it begins" in text
    assert "waits" in text


def test_no_section_starts_when_the_time_is_over(runner: Any, tmp_path: Path) -> None:
    report, models = runner.Report(tmp_path / "report.txt"), runner.Models(None, None, tmp_path)
    assert not runner.run(section(runner, "late", "print('never')"), models, report, 0.0)
    assert "never" not in (tmp_path / "report.txt").read_text()


def test_a_report_is_shown_as_tables(runner: Any, tmp_path: Path) -> None:
    report, models = runner.Report(tmp_path / "report.txt"), runner.Models(None, None, tmp_path)
    runner.run(section(runner, "decode", FIGURE), models, report, float("inf"))
    command = [sys.executable, str(SELFTEST / "run.py"), "--show", str(tmp_path / "report.json")]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "| decode | well | " in shown
    assert "| card float32 | 8 | 147 | 9.6 |  | 7040 |" in shown


def test_the_most_telling_sections_come_first(runner: Any) -> None:
    names = [one.name for one in runner.SECTIONS]
    assert names[:4] == ["card", "kernels", "goldens", "doctor"]
    assert len(set(names)) == len(names)
    assert all((SELFTEST / Path(one.command[1]).name).is_file() for one in runner.SECTIONS if one.command[1] != "-m")


def test_the_driver_is_asked_not_its_banner() -> None:
    """From driver 610 on nvidia-smi prints "CUDA UMD Version"; an earlier script read the CUDA major from it."""
    script = (ROOT / "tools/selftest-gpu").read_text(encoding="utf-8")
    assert "read_driver" in script
    assert "sed " not in script
    assert "$(nvidia-smi" not in script


def test_without_a_card_it_says_so(runner: Any, tmp_path: Path) -> None:
    from tdt.runtime.driver import read_driver

    if not read_driver().problem:
        pytest.skip("there is a card here")
    command = [sys.executable, str(SELFTEST / "run.py"), "--only", "card,decode", "--out", str(tmp_path / "report.txt")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == runner.NO_CARD
    assert "No card: no NVIDIA driver" in ended.stderr
    sections = json.loads((tmp_path / "report.json").read_text())["sections"]
    assert list(sections) == ["card"]
    assert sections["card"]["figures"][0]["packages"]["numpy"]
