"""Fixtures of the tests of corpora."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .making import recordings, run_here

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do shards in this process."""
    monkeypatch.setattr("tdt.corpus.local.run_local", run_here)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Forty short clips and a long one."""
    return recordings(tmp_path_factory.mktemp("corpus") / "clips", 40, 1)
