"""Engines of the classic TensorRT provider: built on the card that will run them, kept beside the model."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdt.errors import EngineBuildError, OptionError
from tdt.quantization.engines.folder import check_folder, copy_rest
from tdt.runtime import REPORT_NAME, Backend
from tdt.spec import HOP_SAMPLES, SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from tdt.model import FoundModel
    from tdt.spec import ModelFiles, ModelSpec

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
        Such as ``tensorrt:0,int8``; `max_batch` and `max_seconds` bound what the engine takes,
        `opt_batch` and `opt_seconds` say what it is tuned for.
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
    EngineBuildError
        Where the finished folder, opened as `tdt.load` does, would not find its engine.
    """
    from tdt.model import find_model, inspect_model

    folder, asked = Path(output), Backend.parse(provider)
    if asked.provider != "tensorrt":
        raise OptionError("provider", str(asked), "tensorrt, tensorrt:N or tensorrt:N,int8: built on the card at hand")
    backend = replace(asked, cache=folder / ENGINES)
    found = inspect_model(model, precision=precision)
    check_folder(folder, found, overwrite=overwrite)
    fresh = not folder.exists()
    try:
        _open(found.files, found.spec, backend)
    except BaseException:
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    copy_rest(found, folder, encoder=True)
    built = _engines(folder)
    _open(*find_model(folder), backend)
    again = [path.parent.name for path in _engines(folder) if path not in built]
    if not built or again:
        raise EngineBuildError(
            f"{backend} built {', '.join(path.parent.name for path in built) or 'no engine'} in {backend.cache}, and "
            f"for the finished folder {', '.join(again) or 'none'}: a model loaded from there would not find it. "
            "Please report this, with the versions that `tdt doctor` shows."
        )
    report = _report(found, backend, folder)
    (folder / REPORT_NAME).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return BuiltOnCard(folder, str(backend), report)


def _open(files: ModelFiles, spec: ModelSpec, backend: Backend) -> None:
    """Open the encoder as `tdt.load` does, which builds what is not there, and run it once."""
    import numpy as np

    from tdt.loading import make_encoder
    from tdt.stages import Features

    encoder = make_encoder(files, spec, backend, Backend(), None)
    try:
        frames = int(min(10.0, backend.max_seconds) * SAMPLE_RATE_HZ / HOP_SAMPLES) + 1
        noise = np.random.default_rng(0).standard_normal((1, spec.n_mels, frames)).astype(np.float32)
        encoder.encode(Features(noise, np.asarray([frames], np.int64)))
    finally:
        encoder.close()


def _engines(folder: Path) -> list[Path]:
    return sorted((folder / ENGINES).rglob("*.engine"))


def _report(found: FoundModel, backend: Backend, folder: Path) -> dict[str, Any]:
    files = sorted(path for path in (folder / ENGINES).rglob("*") if path.is_file())
    return {
        "format": 1,
        "provider": str(backend),
        "quantization": found.graphs["encoder"].quantization,
        "engines": [{"file": str(path.relative_to(folder)), "bytes": path.stat().st_size} for path in files],
    }
