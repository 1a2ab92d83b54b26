"""The wall to ONNX Runtime: the one place that imports it, with its log and its telemetry off, and what it raises."""

from __future__ import annotations

import os
from typing import Any

from tdt.dependencies import needed
from tdt.lifetime import ProcessLock, setting_up

FATAL = 4  # ORT's severities: everything below is carried by the exception already
# Read by the runtime when its library is loaded, from 1.29 on: no uploader, no identifier on the disk. Earlier builds
# for Linux have no telemetry.
_NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"
_import_lock = ProcessLock()
_quiet: Any = None


def onnxruntime() -> Any:
    """Import ONNX Runtime with its log silenced and its telemetry off, once.

    Whoever wants the telemetry says so: ``ORT_DISABLE_TELEMETRY=0``.

    Raises
    ------
    BrokenDependencyError
        Where it is not installed, or not as a whole.
    """
    global _quiet  # noqa: PLW0603
    if _quiet is None:
        with setting_up(), _import_lock:
            _quiet = _import()
    return _quiet


def _import() -> Any:
    if not os.environ.get(_NO_TELEMETRY):
        os.environ[_NO_TELEMETRY] = "1"
    with needed("onnxruntime"):
        import onnxruntime as ort

        ort.set_default_logger_severity(FATAL)
        if os.environ[_NO_TELEMETRY] != "0":
            ort.disable_telemetry_events()  # for a runtime that the program had loaded before
    return ort


def runtime_errors() -> tuple[type[Exception], ...]:
    """Return the exception types that ONNX Runtime raises."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = [kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (*own, RuntimeError, ValueError, IndexError, MemoryError)
