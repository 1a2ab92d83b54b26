"""Find the members of the zip file that `torch.save` writes: all of them stored as they are, none compressed.

Of the format only the directory at the end is read, once its size is known to be sensible; a member is a view of the
mapped file. Source: APPNOTE.TXT 6.3.10, sections 4.3 and 4.5 (zip64); PyTorch `caffe2/serialize/inline_container.cc`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tdt.errors import CheckpointError, ModelFileCorruptError
from tdt.showing import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MOST_ENTRIES = 50_000
MOST_DIRECTORY_BYTES = 16 << 20
_LOCAL, _ENTRY, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_END64, _LOCATOR64 = b"PK\x06\x06", b"PK\x06\x07"
_END_BYTES, _LOCATOR_BYTES, _END64_BYTES, _ENTRY_BYTES, _LOCAL_BYTES = 22, 20, 56, 46, 30
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    offset: int
    size: int
    method: int
    flags: int


def read_zip(content: memoryview, path: Path) -> Mapping[str, memoryview]:
    """Return the members of a zip file by name, without the folder that all of them share.

    Parameters
    ----------
    content : memoryview
        The file.
    path : Path
        Named in errors.

    Raises
    ------
    ModelFileCorruptError
        Where it is cut short or damaged.
    CheckpointError
        Where it has more entries than any checkpoint, compressed or encrypted ones, or a name twice.
    """
    start, size, count = _directory(content, path)
    if count > MOST_ENTRIES or size > MOST_DIRECTORY_BYTES:
        raise CheckpointError(path, f"its checkpoint has {count} entries; {MOST_ENTRIES} are more than any model has")
    found: dict[str, memoryview] = {}
    for entry in _entries(bytes(content[start : start + size]), count, path):
        if entry.flags & 1 or entry.method:
            raise CheckpointError(
                path, f"its checkpoint's member {shown(entry.name, 80)} is compressed or encrypted; torch stores them"
            )
        if entry.name in found:
            raise CheckpointError(path, f"its checkpoint has the member {shown(entry.name, 80)} twice")
        found[entry.name] = _data(content, entry, path)
    return _without_folder(found)


def _directory(content: memoryview, path: Path) -> tuple[int, int, int]:
    """Return where the directory starts, its bytes and its entries."""
    tail = bytes(content[-(_END_BYTES + _FULL16) :])
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_BYTES:
        raise ModelFileCorruptError(path, "its checkpoint was cut short: the directory at its end is missing")
    count, size, start = struct.unpack_from("<HII", tail, at + 10)
    end = len(content) - len(tail) + at
    if count == _FULL16 or _FULL32 in {size, start}:
        locator = bytes(content[max(end - _LOCATOR_BYTES, 0) : end])
        if not locator.startswith(_LOCATOR64):
            raise ModelFileCorruptError(path, "its checkpoint's directory is damaged")
        where = struct.unpack_from("<Q", locator, 8)[0]
        record = bytes(content[where : where + _END64_BYTES])
        if not record.startswith(_END64) or len(record) < _END64_BYTES:
            raise ModelFileCorruptError(path, "its checkpoint's directory is damaged")
        count, size, start = struct.unpack_from("<QQQ", record, 32)
    if start + size > end:
        raise ModelFileCorruptError(path, "its checkpoint's directory is damaged, or what lies before it was cut short")
    return start, size, count


def _entries(directory: bytes, count: int, path: Path) -> Iterator[_Entry]:
    at = 0
    for _ in range(count):
        if directory[at : at + 4] != _ENTRY or at + _ENTRY_BYTES > len(directory):
            raise ModelFileCorruptError(path, "its checkpoint's directory is damaged")
        flags, method = struct.unpack_from("<HH", directory, at + 8)
        stored, size, name_length, extra_length, comment = struct.unpack_from("<IIHHH", directory, at + 20)
        offset = struct.unpack_from("<I", directory, at + 42)[0]
        name_at = at + _ENTRY_BYTES
        extra_at = name_at + name_length
        wide = _wide(directory[extra_at : extra_at + extra_length], (size, stored, offset))
        if wide is None or (not method and wide[0] != wide[1]):
            raise ModelFileCorruptError(path, "its checkpoint's directory is damaged")
        name = directory[name_at:extra_at].decode("utf-8", "surrogateescape")
        yield _Entry(name, wide[2], wide[0], method, flags)
        at = extra_at + extra_length + comment


def _wide(extra: bytes, values: tuple[int, int, int]) -> tuple[int, ...] | None:
    """Return size, stored size and offset, those that do not fit 32 bits from the zip64 field."""
    if _FULL32 not in values:
        return values
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            numbers = iter(struct.unpack_from(f"<{min(length, len(extra) - at - 4) // 8}Q", extra, at + 4))
            wide = tuple(next(numbers, -1) if value == _FULL32 else value for value in values)
            return None if -1 in wide else wide
        at += 4 + length
    return None


def _data(content: memoryview, entry: _Entry, path: Path) -> memoryview:
    header = bytes(content[entry.offset : entry.offset + _LOCAL_BYTES])
    if not header.startswith(_LOCAL) or len(header) < _LOCAL_BYTES:
        raise ModelFileCorruptError(path, f"its checkpoint's member {shown(entry.name, 80)} is not where it should be")
    start = entry.offset + _LOCAL_BYTES + sum(struct.unpack_from("<HH", header, 26))
    if start + entry.size > len(content):
        raise ModelFileCorruptError(path, f"its checkpoint was cut short within {shown(entry.name, 80)}")
    return content[start : start + entry.size]


def _without_folder(found: dict[str, memoryview]) -> dict[str, memoryview]:
    pickle = next((name for name in found if name == "data.pkl" or name.endswith("/data.pkl")), "")
    folder = pickle.removesuffix("data.pkl")
    return {name.removeprefix(folder): data for name, data in found.items() if name.startswith(folder)}
