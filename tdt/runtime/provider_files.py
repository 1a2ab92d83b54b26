"""Files that providers bring in packages of their own, found without running what they do not need."""

from __future__ import annotations

import importlib
import re
from importlib.util import find_spec
from pathlib import Path

RTX_PACKAGE = "onnxruntime_ep_nv_tensorrt_rtx"


def wheel_file(package: str, name: str) -> Path | None:
    """Return a file of an installed package without importing it."""
    for folder in folders_of(package):
        path = folder / name
        if path.is_file():
            return path
    return None


def folders_of(package: str) -> list[Path]:
    """Return where an installed package lies; nothing where it is not installed."""
    spec = find_spec(package)
    return [Path(folder) for folder in spec.submodule_search_locations or []] if spec else []


def rtx_library() -> Path | None:
    """Return the TensorRT-RTX plugin's library; importing its package makes the libraries beside it loadable."""
    try:
        package = importlib.import_module(RTX_PACKAGE)
    except ImportError:
        return None
    return Path(package.get_library_path())


def rtx_version() -> str:
    """Return the version of TensorRT-RTX that the plugin brings, by the name of its library: 1.7.1; else nothing."""
    names = [path.name for folder in folders_of(RTX_PACKAGE) for path in folder.glob("libtensorrt_rtx.so.*")]
    versions = [match.group(1) for name in names if (match := re.search(r"\.so\.(\d+(?:\.\d+)+)$", name))]
    return max(versions, key=len, default="")
