"""Checkpoints as NeMo and Transformers write them, made by hand: each byte where a test wants it, and no torch."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

STORAGES = {
    "float64": "DoubleStorage", "float32": "FloatStorage", "float16": "HalfStorage", "bfloat16": "BFloat16Storage",
    "int64": "LongStorage", "int32": "IntStorage", "uint8": "ByteStorage", "bool": "BoolStorage",
}  # fmt: skip
ORDERED = b"ccollections\nOrderedDict\n)R"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    if 0 <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    content = value.to_bytes(9, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content


def numbers(values: Any) -> bytes:
    return b"(" + b"".join(number(int(value)) for value in values) + b"t"


def named(name: str) -> bytes:
    return b"c" + name.replace(" ", "\n").encode() + b"\n"


def tensor(kind: str, key: str, shape: Any, *, offset: int = 0, strides: Any = None, held: int | None = None) -> bytes:
    """Return the instructions that rebuild one tensor."""
    shape = tuple(shape)
    strides = tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))) if strides is None else strides
    count = int(np.prod(shape)) if held is None else held
    storage = (
        b"(" + text("storage") + named(f"torch {STORAGES[kind]}") + text(key) + text("cpu") + number(count) + b"tQ"
    )
    arguments = storage + number(offset) + numbers(shape) + numbers(strides) + b"\x89" + ORDERED
    return named("torch._utils _rebuild_tensor_v2") + b"(" + arguments + b"tR"


def program(items: dict[str, bytes]) -> bytes:
    """Return a pickle of an ordered dictionary, with the attribute that a module's state has."""
    pairs = b"".join(text(key) + value for key, value in items.items())
    metadata = b"}" + text("_metadata") + ORDERED + b"s"
    return b"\x80\x02" + ORDERED + b"(" + pairs + b"u" + metadata + b"b."


def zipped(pickle: bytes, storages: dict[str, bytes], *, compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return the zip file of `torch.save`."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.writestr("model_weights/data.pkl", pickle)
        archive.writestr("model_weights/byteorder", "little")
        for key, content in storages.items():
            archive.writestr(f"model_weights/data/{key}", content)
        archive.writestr("model_weights/version", "3\n")
    return stream.getvalue()


def saved(tensors: dict[str, np.ndarray[Any, Any]]) -> bytes:
    """Return what `torch.save` makes of arrays."""
    items = {
        name: tensor(str(array.dtype), str(index), array.shape) for index, (name, array) in enumerate(tensors.items())
    }
    return zipped(program(items), {str(index): array.tobytes() for index, array in enumerate(tensors.values())})


def archived(members: dict[str, bytes], *, mode: str = "w", prefix: str = "./") -> bytes:
    """Return a tar archive."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(prefix + name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def safetensors(tensors: dict[str, np.ndarray[Any, Any]]) -> bytes:
    """Return a `.safetensors` file."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at, content = 0, b""
    kinds = {"float32": "F32", "float16": "F16", "int64": "I64", "uint16": "BF16"}
    for name, array in tensors.items():
        data = array.tobytes()
        header[name] = {
            "dtype": kinds[str(array.dtype)],
            "shape": list(array.shape),
            "data_offsets": [at, at + len(data)],
        }
        content += data
        at += len(data)
    head = json.dumps(header).encode()
    return struct.pack("<Q", len(head)) + head + content


def members(path: Path) -> dict[str, bytes]:
    """Return the files in an archive."""
    with tarfile.open(path) as archive:
        found = {}
        for info in archive.getmembers():
            stream = archive.extractfile(info) if info.isreg() else None
            if stream is not None:
                found[info.name.removeprefix("./")] = stream.read()
    return found
