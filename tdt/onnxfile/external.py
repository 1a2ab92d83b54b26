"""External weight data of an ONNX file: where it lies, and that it may lie there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from tdt.errors import ExternalDataError
from tdt.onnxfile.content import foreign_content
from tdt.onnxfile.proto import read_model

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tdt.onnxfile.graph_parts import Tensor


@dataclass(frozen=True, slots=True)
class ExternalRef:
    """Where the bytes of one weight are.

    Parameters
    ----------
    name : str
        The tensor.
    location : str
        The path as the graph has it, relative to the model's folder.
    file : Path
        The file itself, links followed.
    offset, bytes : int
        Byte range in the file.
    """

    name: str
    location: str
    file: Path
    offset: int
    bytes: int


def check_external(model: Path, tensors: Iterable[Tensor]) -> tuple[ExternalRef, ...]:
    """Return where the external weights of the graph `model` lie, after checking that each may be read.

    A location must be relative, without ``..``, and must lead to a regular file inside the folder of the graph. Links
    may leave that folder for the blobs of the hub cache which the folder itself belongs to, and for nothing else.

    Raises
    ------
    ExternalDataError
        Where the data is missing, too short, or outside the folder.
    """
    files: dict[str, tuple[Path, int]] = {}
    refs = []
    for tensor in tensors:
        entries = tensor.external or {}
        location = entries.get("location", "")
        if location not in files:
            files[location] = _located(model, location)
        file, size = files[location]
        offset = _number(model, tensor, "offset", entries.get("offset", "0"))
        length = _number(model, tensor, "length", entries.get("length", str(tensor.bytes)))
        if length != tensor.bytes:
            raise ExternalDataError(
                f"{model}: weight {tensor.name!r} is said to have {length} bytes in {location!r}, but its shape "
                f"{tensor.shape} of {tensor.dtype} needs {tensor.bytes}. Export or download the model again."
            )
        if offset + length > size:
            with file.open("rb") as stream:
                problem = foreign_content(stream.read(512))
            if problem is not None:
                raise ExternalDataError(f"{file} should hold the weights of {model.name}, but {problem}.")
            raise ExternalDataError(
                f"{file} has {size} bytes, but {model.name} expects weight {tensor.name!r} at bytes {offset} to "
                f"{offset + length}: the file was cut short or belongs to another export. Download it again."
            )
        refs.append(ExternalRef(tensor.name, location, file, offset, length))
    return tuple(refs)


def declared_external(model: Path, tensors: Iterable[Tensor]) -> tuple[ExternalRef, ...]:
    """Return where the external weights of the graph `model` are to lie, whether they are there or not.

    Raises
    ------
    ExternalDataError
        Where a location leads outside the folder.
    """
    refs = []
    for tensor in tensors:
        location = (tensor.external or {}).get("location", "")
        _check_location(model, location)
        refs.append(ExternalRef(tensor.name, location, model.parent / location, 0, tensor.bytes))
    return tuple(refs)


def external_locations(model: bytes) -> list[str]:
    """Return the files that the weights of a serialised graph lie in, as the graph names them, each once, sorted."""
    return sorted({tensor.external.get("location", "") for tensor in read_model(model).all_tensors if tensor.external})


def _number(model: Path, tensor: Tensor, key: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 19):
        raise ExternalDataError(
            f"{model}: weight {tensor.name!r} has the external {key} {value[:40]!r}, which is not a number of bytes. "
            "Export or download the model again."
        )
    return int(value)


def _check_location(model: Path, location: str) -> None:
    parts = {*PurePosixPath(location).parts, *PureWindowsPath(location).parts}
    absolute = PurePosixPath(location).is_absolute() or PureWindowsPath(location).drive or location.startswith("\\")
    if not location or absolute or ".." in parts or "\0" in location:
        raise ExternalDataError(
            f"{model} refers to external data {location[:200]!r}; expected the name of a file beside it, without '..'. "
            "Do not use this model, or fetch it from its publisher."
        )


def _located(model: Path, location: str) -> tuple[Path, int]:
    _check_location(model, location)
    # A graph that is itself a link may have its data beside the link (hub cache) or beside the file it leads to.
    for home in dict.fromkeys((model.parent, Path(os.path.realpath(model)).parent)):
        candidate = home / location
        if os.path.lexists(candidate):
            return _contained(model, home, candidate)
    raise ExternalDataError(
        f"{model} keeps its weights in {location!r}, which is not there. Expected it in {model.parent}; "
        "download that file too."
    )


def _contained(model: Path, home: Path, candidate: Path) -> tuple[Path, int]:
    real = Path(os.path.realpath(candidate))
    allowed = [Path(os.path.realpath(home))]
    if home.parent.name == "snapshots":
        allowed.append(Path(os.path.realpath(home.parent.parent / "blobs")))
    if not any(real.is_relative_to(folder) for folder in allowed):
        raise ExternalDataError(
            f"{model} refers to external data {candidate.name!r}, a link that leads outside its folder, to {real}. "
            "Copy the file into the folder, or fetch the model from its publisher."
        )
    if not real.is_file():
        problem = "is not a regular file" if real.exists() else "is a link to a file that is missing"
        raise ExternalDataError(f"The external data {candidate} of {model.name} {problem}. Download it again.")
    return real, real.stat().st_size
