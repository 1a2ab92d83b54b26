"""The wall to ONNX Runtime: the one place that imports it, with its log silenced, and the types it raises."""

from __future__ import annotations

import threading
from typing import Any

FATAL = 4  # ORT's severities: everything below is carried by the exception already
_import_lock = threading.Lock()


def onnxruntime() -> Any:
    """Import ONNX Runtime with its log silenced, once."""
    with _import_lock:
        import onnxruntime as ort

        ort.set_default_logger_severity(FATAL)
    return ort


def runtime_errors() -> tuple[type[Exception], ...]:
    """Return the exception types that ONNX Runtime raises."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = [kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (*own, RuntimeError, ValueError, IndexError, MemoryError)
