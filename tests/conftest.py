"""Fixtures that every test file shares."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def pytest_configure() -> None:
    """Let Ctrl-C through: a suite started in the background inherits an ignored SIGINT and hands it on."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(440)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with models, goldens and evaluation clips beside the project."""
    if not SHARED.is_dir():
        pytest.fail(f"{SHARED} is missing: the tests need the shared folder beside the project")
    return SHARED


@pytest.fixture(scope="session")
def goldens(shared: Path) -> dict[str, dict[str, Any]]:
    """NeMo's answers by clip id, without the file's header."""
    listed = json.loads((shared / "models/goldens/goldens.json").read_text())["clips"]
    return {clip["id"]: clip for clip in listed}


@pytest.fixture(scope="session")
def golden_folder(shared: Path) -> Path:
    return shared / "models/goldens"


@pytest.fixture(scope="session", params=["parakeet-tdt-tiny-onnx", "sherpa-onnx-parakeet-tdt-tiny"])
def model_folder(request: pytest.FixtureRequest, shared: Path) -> Path:
    """The tiny model in each layout."""
    return shared / "models" / request.param
