"""Read a `.safetensors` file: eight bytes that say how long the header is, the header in JSON, then the numbers.

Source: the format's description in huggingface/safetensors, README.md.
"""

from __future__ import annotations

import json
from math import prod
from typing import TYPE_CHECKING, Any

from tdt.conversion.tensors import DTYPES, StoredTensor
from tdt.errors import CheckpointError, ModelFileCorruptError
from tdt.showing import shown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MOST_HEADER_BYTES = 16 << 20  # a header of 1 000 tensors takes 100 KB
_NAMES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip


def read_safetensors(content: memoryview, path: Path) -> Mapping[str, StoredTensor]:
    """Return the tensors of a file by name.

    Parameters
    ----------
    content : memoryview
        The file.
    path : Path
        Named in errors.

    Raises
    ------
    ModelFileCorruptError
        Where it is cut short, damaged or something else.
    CheckpointError
        Where it holds elements of a type that no float model has.
    """
    length = int.from_bytes(content[:8], "little")
    if length > MOST_HEADER_BYTES or 8 + length > len(content):
        raise ModelFileCorruptError(
            path, f"it says that its header has {length} bytes, and is no safetensors file then"
        )
    try:
        header = json.loads(bytes(content[8 : 8 + length]))
    except (ValueError, RecursionError) as error:
        raise ModelFileCorruptError(path, f"its header is no JSON ({str(error)[:120]})") from error
    if not isinstance(header, dict):
        raise ModelFileCorruptError(path, "its header is no JSON object")
    numbers = content[8 + length :]
    return {name: _tensor(name, entry, numbers, path) for name, entry in header.items() if name != "__metadata__"}


def _tensor(name: str, entry: Any, numbers: memoryview, path: Path) -> StoredTensor:
    entry = entry if isinstance(entry, dict) else {}
    shape, offsets, kind = entry.get("shape"), entry.get("data_offsets"), entry.get("dtype")
    whole = all(
        isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)
        for values in (shape, offsets)
    )
    if not whole or len(offsets) != 2 or not offsets[0] <= offsets[1] <= len(numbers):
        raise ModelFileCorruptError(path, f"the tensor {shown(name, 80)} is not where the header says, or cut short")
    if not isinstance(kind, str) or kind not in _NAMES:
        raise CheckpointError(
            path, f"the tensor {shown(name, 80)} is of type {shown(kind, 20)}, which no float model has",
            "Take the model's float weights",
        )  # fmt: skip
    dtype = _NAMES[kind]
    data = numbers[offsets[0] : offsets[1]]
    try:
        if prod(shape) * DTYPES[dtype].itemsize != len(data):
            raise ValueError("another number of bytes than its shape needs")  # noqa: TRY301
        return StoredTensor(dtype, tuple(shape), data)
    except ValueError as error:
        raise ModelFileCorruptError(path, f"the tensor {shown(name, 80)} has {error}") from error
