"""Fixtures that every test file shares."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from . import parakeet_tiny

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "tests/data"


# A busy machine is no fault of what is tested: examples may take their time.
settings.register_profile("tdt", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("kept nowhere", settings.get_profile("tdt"), database=None)
settings.load_profile("tdt" if os.access(ROOT, os.W_OK) else "kept nowhere")


def pytest_configure() -> None:
    """Let Ctrl-C through: a suite started in the background inherits an ignored SIGINT and hands it on."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(440)


@pytest.fixture(scope="session")
def golden_folder() -> Path:
    """The golden clips, each with an .npz of what NeMo computes on the way."""
    return DATA / "goldens"


@pytest.fixture(scope="session")
def goldens(golden_folder: Path) -> dict[str, dict[str, Any]]:
    """NeMo's answers by clip id, without the file's header."""
    listed = json.loads((golden_folder / "goldens.json").read_text(encoding="utf-8"))["clips"]
    return {clip["id"]: clip for clip in listed}


@pytest.fixture(scope="session")
def eval_folder() -> Path:
    """The evaluation clips with transcripts.tsv and nemo_hyps.json."""
    return DATA / "eval"


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model in both layouts and precisions: parakeet-tdt-tiny-onnx and sherpa-onnx-parakeet-tdt-tiny."""
    return parakeet_tiny.write_both(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session", params=parakeet_tiny.FOLDERS.values())
def model_folder(request: pytest.FixtureRequest, models: Path) -> Path:
    """The tiny model in each layout."""
    return models / request.param
