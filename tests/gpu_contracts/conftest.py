"""Contracts of the GPU code, checked without a GPU; run by tools/test-gpu-contracts, which brings the heavy wheels."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

# The ordinary suite has neither the CUDA wheels nor the preloaded runtime; all it can do is to run the kernels' source
# on the host, which needs a C++ compiler alone.
_EVERYWHERE = {
    "test_card_engine.py",
    "test_greedy_clips.py",
    "test_greedy_host.py",
    "test_kernels_host.py",
    "test_lazy_card.py",
}


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out what only tools/test-gpu-contracts can run."""
    contract = collection_path.name.startswith("test_") and collection_path.name not in _EVERYWHERE
    return True if contract and not os.environ.get("TDT_GPU_CONTRACTS") else None


@pytest.fixture(scope="session")
def grid_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold programs of this run, of all its workers: none is compiled twice."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "grid"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(autouse=True)
def kernels_on_the_host(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Over the do-nothing runtime, let the decoder's kernel be the host's compilation of its source.

    A test marked `nvrtc` has the real compiler, and a kernel that does nothing.
    """
    if os.environ.get("TDT_FAKE_CUDA") and "nvrtc" not in request.keywords:
        from tdt.runtime import card_kernel

        from .fake_card import HostCompiler

        compiler = HostCompiler(request.getfixturevalue("grid_folder"))
        monkeypatch.setattr(card_kernel, "find_nvrtc", lambda major: compiler if major >= 13 else None)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
