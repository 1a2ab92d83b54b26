"""Names of public models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.errors import DownloadError

if TYPE_CHECKING:
    from pathlib import Path

    from tdt.spec import Precision

NAMES: dict[str, str] = {}


def is_name(model: str) -> bool:
    """Return whether `model` is a known name."""
    return model in NAMES


def fetch(model: str, precision: Precision | None) -> Path:
    """Fetch a model."""
    raise DownloadError(f"{model} ({precision}) is not published.")
