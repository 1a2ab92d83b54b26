"""Engines of the classic TensorRT provider: built on the card that will run them, kept beside the model."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdt.errors import OptionError
from tdt.quantization.engines.folder import REPORT_NAME, check_folder, copy_rest
from tdt.runtime import Backend
from tdt.spec import HOP_SAMPLES, SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from tdt.model import FoundModel

ENGINES = "engines"


@dataclass(frozen=True, slots=True)
class BuiltOnCard:
    """A finished folder, the provider string that uses it, and the report in it."""

    folder: Path
    provider: str
    report: dict[str, Any]


def build_on_card(
    model: str | Path | None,
    output: str | Path,
    provider: str | Backend,
    *,
    precision: Any = None,
    overwrite: bool = False,
) -> BuiltOnCard:
    """Copy a model into a folder and let the TensorRT provider build its engine there, on this machine's card.

    Parameters
    ----------
    model : str, Path or None
        Folder or name.
    output : str or Path
        Folder to be made; engines lie in its `engines`.
    provider : str or Backend
        Such as ``tensorrt:0,int8``; `max_batch` and `max_seconds` bound what the engine takes.
    precision : {"float32", "int8"}, optional
        Which encoder file to take.
    overwrite : bool
        Write into a folder that holds something.

    Raises
    ------
    OptionError
        Where the provider is not TensorRT, or the folder is in use.
    ProviderError
        Where the provider cannot start or build.
    """
    import numpy as np

    from tdt.encoding import DeviceEncoder
    from tdt.model import inspect_model
    from tdt.stages import Features

    folder, asked = Path(output), Backend.parse(provider)
    if asked.provider != "tensorrt":
        raise OptionError("provider", str(asked), "tensorrt, tensorrt:N or tensorrt:N,int8: built on the card at hand")
    backend = replace(asked, cache=folder / ENGINES)
    found = inspect_model(model, precision=precision)
    check_folder(folder, found, overwrite=overwrite)
    frames = int(min(10.0, backend.max_seconds) * SAMPLE_RATE_HZ / HOP_SAMPLES) + 1
    fresh = not folder.exists()
    try:
        encoder = DeviceEncoder(found.files, found.spec, backend)
    except BaseException:
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    try:
        noise = np.random.default_rng(0).standard_normal((1, found.spec.n_mels, frames)).astype(np.float32)
        encoder.encode(Features(noise, np.asarray([frames], np.int64)))
    finally:
        encoder.close()
    copy_rest(found, folder, encoder=True)
    report = _report(found, backend, folder)
    (folder / REPORT_NAME).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return BuiltOnCard(folder, str(backend), report)


def _report(found: FoundModel, backend: Backend, folder: Path) -> dict[str, Any]:
    files = sorted(path for path in (folder / ENGINES).rglob("*") if path.is_file())
    return {
        "format": 1,
        "provider": str(backend),
        "quantization": found.graphs["encoder"].quantization,
        "engines": [{"file": str(path.relative_to(folder)), "bytes": path.stat().st_size} for path in files],
    }
