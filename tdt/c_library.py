"""Functions of the C library that this process runs on."""

from __future__ import annotations

import ctypes
from typing import Any


def c_function(name: str) -> Any:
    """Return a function of the C library; None where there is no such library (Windows) or function."""
    try:
        return getattr(ctypes.CDLL(None), name)
    except (OSError, TypeError, AttributeError):
        return None
