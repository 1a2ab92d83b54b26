"""A few hundred damaged files in each run of the suite; `tools/fuzz --count 10000` runs more."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


def fuzz(*arguments: str) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, str(ROOT / "tools" / "fuzz"), "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.slow
def test_damaged_files_end_in_results_or_typed_errors() -> None:
    status, report = fuzz("--count", "420", "--seed", "5", "--jobs", "1")
    assert report["bad"] == []
    assert status == 0
    assert report["count"] == 420
    # The damage is neither too light nor too heavy to mean something: each kind ends both ways.
    for kind, outcomes in report["counts"].items():
        assert outcomes["ok"] >= 3, kind
        assert sum(outcomes.values()) - outcomes["ok"] >= 15, kind


@pytest.mark.slow
def test_crashes_hangs_and_untyped_errors_are_noticed() -> None:
    status, report = fuzz("--count", "3", "--kinds", "broken", "--timeout", "2", "--jobs", "1")
    assert status == 1
    assert set(report["counts"]["broken"]) == {"crash", "hang", "untyped"}
    assert len(report["bad"]) == 3


@pytest.mark.parametrize(("seed", "case"), [(2, 2589)])
def test_cases_that_once_failed(seed: int, case: int) -> None:
    numbers = ("--seed", str(seed), "--first", str(case), "--count", "1", "--jobs", "1")
    # A case is of the kind that its number says, of the four that there were.
    status, report = fuzz(*numbers, "--kinds", "audio", "model", "vocabulary", "config")
    assert report["bad"] == []
    assert status == 0
