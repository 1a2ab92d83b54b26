"""Load an ONNX file with its weights, or with references to them, after the checks of :mod:`tdt.onnxfile.graph`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.errors import ModelFileCorruptError
from tdt.onnxfile.graph import read_graph

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

    from tdt.onnxfile.external import ExternalRef


def load_model(path: Path, *, weights: bool = True) -> onnx.ModelProto:
    """Load an ONNX file after the checks of :func:`read_graph`.

    Parameters
    ----------
    path : Path
        The file.
    weights : bool
        Whether external weights are read into memory; otherwise they stay references, into `weights_folder` of
        :func:`read_graph`.

    Returns
    -------
    onnx.ModelProto
        The model; inline weights are always present.

    Raises
    ------
    ModelError
        As :func:`read_graph` does.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    info = read_graph(path)
    try:
        model = onnx.load_model(str(path), format="protobuf", load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise ModelFileCorruptError(path, f"it is not an ONNX graph ({error})") from error
    if info.external:
        relocated = None if info.weights_folder == path.parent else info.weights_folder
        _resolve(model, info.external, relocated, inline=weights)
    return model


def without_links(path: Path) -> tuple[Path | bytes, Path | None]:
    """Return what a runtime that follows no links can load: the path itself, or a graph and its weights' folder.

    Returns
    -------
    model : Path or bytes
        `path`, or the serialised graph where links lead its weights out of its folder, as in the hub's cache.
    folder : Path or None
        Where the weights of a serialised graph lie.
    """
    if not path.is_symlink():
        return path, None
    folder = read_graph(path).weights_folder
    return (path, None) if folder == path.parent else (load_model(path, weights=False).SerializeToString(), folder)


def _resolve(model: onnx.ModelProto, external: tuple[ExternalRef, ...], folder: Path | None, *, inline: bool) -> None:
    """Bring external weights into the model, or name the files in `folder` that links lead to."""
    from onnx import TensorProto
    from onnx.external_data_helper import _get_all_tensors  # the only walk over attributes and subgraphs

    places = {(ref.name, ref.location): ref for ref in external}
    for tensor in _get_all_tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        location = next((entry for entry in tensor.external_data if entry.key == "location"), None)
        ref = places[tensor.name, "" if location is None else location.value]
        if inline:
            with ref.file.open("rb") as stream:
                stream.seek(ref.offset)
                tensor.raw_data = stream.read(ref.bytes)
            tensor.data_location = TensorProto.DEFAULT
            del tensor.external_data[:]
        elif folder is not None and location is not None:
            location.value = ref.file.relative_to(folder).as_posix()
