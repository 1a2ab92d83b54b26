"""A model folder whose encoder is an engine built ahead: what its report says that loading has to know."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tdt.runtime.provider_files import rtx_version

if TYPE_CHECKING:
    from pathlib import Path

    from tdt.runtime.backend import Backend

REPORT_NAME = "engine.json"

_log = logging.getLogger("tdt")


def as_built(encoder: Path, backend: Backend) -> Backend:
    """Return a backend with the shapes that the engine of an encoder takes, where it was built ahead.

    Parameters
    ----------
    encoder : Path
        The graph; the report lies beside it.
    backend : Backend
        Returned as it is where it is not TensorRT-RTX, or there is no report of shapes.
    """
    if backend.provider != "tensorrt-rtx":
        return backend
    report = _report(encoder.parent / REPORT_NAME)
    built, here = str(report.get("tensorrt_rtx", "")), rtx_version()
    if built and here and _release(built) != _release(here):
        _log.warning(
            "%s was built with TensorRT-RTX %s, and the plugin here brings %s, which may refuse it. Build it anew: "
            "pip install tensorrt-rtx-cu13-libs==%s.* tensorrt-rtx-cu13-bindings==%s.*, then `tdt build-engine`",
            *(encoder.parent, built, here, here, here),
        )
    shapes: Any = report.get("shapes")
    try:
        batch, longest, usual = int(shapes["max_batch"]), float(shapes["max_seconds"]), float(shapes["opt_seconds"])
    except (KeyError, TypeError, ValueError):
        return backend
    return replace(backend, max_batch=batch, max_seconds=longest, opt_batch=1, opt_seconds=usual, engines=1)


def _report(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _release(version: str) -> list[str]:
    return re.findall(r"\d+", version)[:2]
