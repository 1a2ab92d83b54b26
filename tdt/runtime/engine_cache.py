"""Where built TensorRT engines are kept: one folder for each model, card, driver, version and set of options."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdt.kernels.vector import folders
from tdt.runtime import provider_options
from tdt.runtime.driver import read_driver
from tdt.runtime.numbers import tf32_forbidden
from tdt.runtime.provider_files import rtx_version

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tdt.runtime.backend import Backend
    from tdt.runtime.provider_options import ShapeProfile

_log = logging.getLogger("tdt")
_HEARTBEAT_SECONDS = 15.0


def open_engine_folder(ort: Any, backend: Backend, profile: ShapeProfile | None, key: str) -> Path | None:
    """Return the folder of an engine, made where it was not there; None where no folder can be written to.

    It is looked for, and else made, in the folder that was given, in the user's cache folder, and in a temporary folder
    of this user. One that holds the engine serves although it cannot be written to.
    """
    name = engine_name(ort, backend, profile, key)
    own = [home / "engines" / name for home in (folders.user_cache(), folders.temporary()) if home is not None]
    given = [backend.cache / name] if backend.cache is not None else []
    for folder in [*given, *own]:
        if _holds_something(folder):
            return folder
        if folders.is_writable(folder):
            with contextlib.suppress(OSError):
                if folder in own:
                    folders.make(folder)
                else:
                    folder.mkdir(parents=True, exist_ok=True)
                if given and folder in own:
                    _log.warning("%s cannot be written to; the TensorRT engine is kept in %s", backend.cache, folder)
                return folder
    _log.warning("the TensorRT engine cannot be kept: no folder can be written to. Each start builds it anew")
    return None


def _holds_something(folder: Path) -> bool:
    try:
        return next(folder.iterdir(), None) is not None
    except OSError:
        return False


def engine_name(ort: Any, backend: Backend, profile: ShapeProfile | None, key: str) -> str:
    """Return the name of an engine's folder, another one wherever the engine would be another.

    Parameters
    ----------
    ort : module
        onnxruntime.
    backend : Backend
    profile : ShapeProfile or None
    key : str
        Hash of the model.
    """
    driver = read_driver()
    card = driver.cards[backend.device_id] if backend.device_id < len(driver.cards) else None
    rtx = backend.provider == "tensorrt-rtx"
    settings = provider_options.tensorrt_rtx_options if rtx else provider_options.tensorrt_options
    parts = {
        "model": key,
        "card": [card.name, *card.capability] if card else None,
        "driver": [driver.version, driver.cuda],
        "tensorrt": f"rtx {rtx_version()}" if rtx else tensorrt_version(),
        "onnxruntime": ort.__version__,
        "tf32": not tf32_forbidden(),
        # The stream is another in each process; the card is told by its name, not by its number here.
        "options": settings(replace(backend, stream=0, device_id=0), profile, Path("engine")),
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
    named = re.sub(r"\W+", "-", card.name).strip("-").lower() if card else "no-card"
    return f"{named}-{'rtx' if rtx else backend.numbers}-{digest}"


def tensorrt_version() -> str:
    """Return the version of the installed TensorRT wheel, or nothing."""
    import importlib.metadata

    for name in ("tensorrt-cu13", "tensorrt-cu12", "tensorrt"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return ""


@contextlib.contextmanager
def building(backend: Backend, cache: Path | None) -> Iterator[None]:
    """Say that an engine is built, and that the process is alive meanwhile."""
    if cache is not None and any(cache.glob("*.engine")):
        yield
        return
    done = threading.Event()
    started = time.monotonic()
    later = "each start does" if cache is None else f"later starts take {cache}"
    _log.warning("building the TensorRT engine for %s; this can take minutes, %s", backend, later)

    def beat() -> None:
        while not done.wait(_HEARTBEAT_SECONDS):
            _log.warning("still building the TensorRT engine (%.0f s)", time.monotonic() - started)

    thread = threading.Thread(target=beat, name="tdt-engine-build", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    _log.warning("the TensorRT engine is ready after %.0f s", time.monotonic() - started)
