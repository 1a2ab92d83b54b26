"""`quantization.json`: how a quantised encoder was made, written down. :mod:`tdt.model.sidecar` reads it."""

from __future__ import annotations

import hashlib
import json
import platform
from typing import TYPE_CHECKING, Any

from tdt.dependencies import installed
from tdt.model import SIDECAR, SIDECAR_FORMAT
from tdt.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tdt.quantization.clips import AudioSet
    from tdt.quantization.recipe import Recipe
    from tdt.quantization.smoothing import Smoothing
    from tdt.quantization.source import SourceModel
    from tdt.quantization.statistics import TensorStatistics
    from tdt.quantization.writer import QuantisedLinear

_TOOLS = ("numpy", "onnx", "onnxruntime-gpu", "onnxruntime")


def describe(
    source: SourceModel,
    recipe: Recipe,
    audio: AudioSet,
    statistics: Mapping[str, TensorStatistics],
    layers: Sequence[QuantisedLinear],
    smoothing: Sequence[Smoothing],
    narrow_columns: Mapping[str, int],
) -> dict[str, Any]:
    """Return the content of the sidecar."""
    chosen = {layer.linear.node for layer in layers}
    return {
        "format": SIDECAR_FORMAT,
        "kind": "static int8, Q/DQ",
        "source": {"name": source.spec.name, "files": source_files(source)},
        "recipe": recipe.as_json(),
        "surgery": source.surgery.changes,
        "calibration": calibration_block(audio),
        "ranges": {
            layer.linear.source: {
                "absmax": statistics[layer.linear.source].absmax,
                "scale": layer.grid.scale,
                "offset": layer.grid.offset,
                "values": statistics[layer.linear.source].count,
            }
            for layer in layers
        },
        "layers": [_layer(layer, narrow_columns.get(layer.linear.node, 0)) for layer in layers],
        "left_in_float": [linear.name for linear in source.linears if linear.node not in chosen],
        "smoothquant": [
            {"tensor": item.tensor, "alpha": item.alpha, "before": item.error_before, "after": item.error_after}
            for item in smoothing
        ],
        "tools": tool_versions(),
    }


def calibration_block(audio: AudioSet) -> dict[str, Any]:
    """Return what is recorded of the calibration set."""
    return {
        "seconds": round(audio.seconds, 3),
        "sounding_seconds": round(audio.sounding_seconds, 3),
        "clips": [
            {
                "file": clip.path.name,
                "seconds": round(clip.seconds, 3),
                "samples_sha256": hashlib.sha256(clip.samples.tobytes()).hexdigest(),
            }
            for clip in audio.clips
        ],
        "skipped": [{"file": path.name, "reason": reason} for path, reason in audio.skipped],
    }


def source_files(source: SourceModel) -> list[dict[str, Any]]:
    """Return size and SHA-256 of the encoder's files."""
    from tdt.onnxfile import read_graph

    path = source.found.files.encoder
    paths = [path, *sorted({ref.file for ref in read_graph(path).external})]
    return [{"file": item.name, "bytes": item.stat().st_size, "sha256": file_hash(item)} for item in paths]


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def tool_versions() -> dict[str, str]:
    """Return the versions of what made the file."""
    return {"tdt": __version__, "python": platform.python_version(), **installed(_TOOLS)}


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the sidecar into `folder`."""
    (folder / SIDECAR).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _layer(layer: QuantisedLinear, narrow: int) -> dict[str, Any]:
    linear = layer.linear
    return {"name": linear.name, "part": linear.part, "shape": list(linear.shape), "narrow_columns": narrow}
