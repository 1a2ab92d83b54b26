"""What tells one model from another, and its graph without the weights: from a file, or from its bytes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_KEY_BYTES = 1 << 20


def model_key(model: Path | bytes, external_folder: Path | None = None) -> str:
    """Return a hash that tells models apart: the graph whole, of external weights the size and both ends.

    It does not depend on where they lie.
    """
    from tdt.onnxfile import external_locations, read_graph

    digest = hashlib.sha256()
    if isinstance(model, bytes):
        digest.update(model)
        files = [external_folder / name for name in external_locations(model)] if external_folder is not None else []
    else:
        digest.update(model.read_bytes())
        files = sorted({ref.file for ref in read_graph(model).external})
    for file in files:
        size = file.stat().st_size
        digest.update(str(size).encode())
        with file.open("rb") as stream:
            digest.update(stream.read(_KEY_BYTES))
            stream.seek(max(0, size - _KEY_BYTES))
            digest.update(stream.read(_KEY_BYTES))
    return digest.hexdigest()


def graph_of(model: Path | bytes) -> Any:
    """Return the graph; external weights are not read."""
    if isinstance(model, bytes):
        import onnx

        return onnx.load_from_string(model)
    from tdt.onnxfile import load_model

    return load_model(model, weights=False)
