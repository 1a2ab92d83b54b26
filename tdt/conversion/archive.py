"""Read a `.nemo` file: a tar archive, plain or gzipped, whose members are found by name and never written to disk.

Only regular files and folders may be in it: no links, no devices, no absolute paths, none with `..`. The archive is
mapped, so that a member is a view and costs nothing until its bytes are read; a gzipped one is inflated into memory,
within a bound.

Source: NeMo `core/connectors/save_restore_connector.py` writes it with `tarfile`; POSIX.1-2001 for the headers.
"""

from __future__ import annotations

import tarfile
import zlib
from contextlib import suppress
from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

import numpy as np

from tdt.errors import CheckpointError, ModelFileCorruptError, UnsafeCheckpointError
from tdt.onnxfile import size_of
from tdt.showing import shown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BLOCK = 512
MOST_MEMBERS = 4096
MOST_HEADER_BYTES = 1 << 20  # of a long name or of extended attributes
MOST_INFLATION = 64  # weights hardly compress
_GZIP = b"\x1f\x8b"
_LONG_NAMES = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_EXTENDED = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)


def read_archive(path: Path) -> Mapping[str, memoryview]:
    """Return the files in the archive at `path` by name, a leading `./` left out, as views of their bytes.

    Raises
    ------
    ModelFileNotFoundError, ModelFileCorruptError
        Where there is no such file, or it is no archive, cut short or inflates beyond all measure.
    UnsafeCheckpointError
        Where a member is a link, a device, or named so that it would lie outside a folder.
    """
    content = mapped(path)
    if bytes(content[:2]) == _GZIP:
        content = _inflated(content, path)
    return _members(content, path)


def mapped(path: Path) -> memoryview:
    """Return the content of a file, mapped; it stays mapped as long as a view of it is used."""
    size_of(path)
    try:
        return memoryview(np.memmap(path, np.uint8, "r"))  # type: ignore[arg-type]
    except (OSError, ValueError) as error:
        raise ModelFileCorruptError(path, f"the system refuses ({error})") from error


def _inflated(content: memoryview, path: Path) -> memoryview:
    most = MOST_INFLATION * max(len(content), BLOCK)
    inflater = zlib.decompressobj(wbits=31)
    out = bytearray()
    step = 1 << 24
    try:
        for start in range(0, len(content), step):
            piece = content[start : start + step]
            while piece and not inflater.eof:
                out += inflater.decompress(piece, step)
                piece = memoryview(inflater.unconsumed_tail)
                if len(out) > most:
                    raise CheckpointError(path, f"it inflates to more than {MOST_INFLATION} times its size")
    except zlib.error as error:
        raise ModelFileCorruptError(path, f"its compression is damaged ({error})") from error
    if not inflater.eof:
        raise ModelFileCorruptError(path, "it was cut short: its compressed data does not end")
    return memoryview(out)


def _members(content: memoryview, path: Path) -> dict[str, memoryview]:
    found: dict[str, memoryview] = {}
    changed: dict[str, str] = {}  # by extended headers, for the next member
    at = count = 0
    while at + BLOCK <= len(content):
        block = bytes(content[at : at + BLOCK])
        if not block.strip(b"\0"):
            break
        count += 1
        if count > MOST_MEMBERS:
            raise CheckpointError(path, f"it holds more than {MOST_MEMBERS} members")
        info = _header(block, at, path)
        size, start = _size(info, changed, path), at + BLOCK
        if start + size > len(content):
            raise ModelFileCorruptError(path, f"it was cut short: {shown(info.name, 80)} needs {start + size} bytes")
        at = start + -(-size // BLOCK) * BLOCK
        data = content[start : start + size]
        if info.type in _LONG_NAMES or info.type in _EXTENDED:
            changed |= _changes(info, data, path)
        elif info.type != tarfile.XGLTYPE:
            name = _checked_name(info, changed.get("path", info.name), path)
            if info.isreg():
                found[name] = data
            changed = {}
    if content[at : at + BLOCK] and at + BLOCK > len(content):
        raise ModelFileCorruptError(path, "it was cut short within a header, or is no tar archive")
    if not found:
        raise ModelFileCorruptError(path, "it is an archive without files")
    return found


def _header(block: bytes, at: int, path: Path) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError) as error:
        problem = "it is no tar archive" if at == 0 else f"its archive is damaged at byte {at}"
        raise ModelFileCorruptError(path, f"{problem} ({error})") from error


def _size(info: tarfile.TarInfo, changed: Mapping[str, str], path: Path) -> int:
    if not (info.isreg() or info.type in _LONG_NAMES or info.type in _EXTENDED or info.type == tarfile.XGLTYPE):
        return 0
    stated = changed.get("size") if info.isreg() else None
    size = info.size if stated is None or not stated.isdecimal() or len(stated) > 18 else int(stated)
    if size < 0:
        raise ModelFileCorruptError(path, f"its member {shown(info.name, 80)} has {size} bytes")
    return size


def _changes(info: tarfile.TarInfo, data: memoryview, path: Path) -> dict[str, str]:
    """Return what an extended header says of the member that follows: its `path`, its `size`."""
    if len(data) > MOST_HEADER_BYTES:
        raise CheckpointError(path, f"a header in it has {len(data)} bytes; {MOST_HEADER_BYTES} are more than enough")
    content = bytes(data)
    if info.type == tarfile.GNUTYPE_LONGLINK:
        return {}
    if info.type == tarfile.GNUTYPE_LONGNAME:
        return {"path": content.rstrip(b"\0").decode("utf-8", "surrogateescape")}
    found: dict[str, str] = {}
    while content.strip(b"\0"):
        digits = content.partition(b" ")[0]
        length = 0
        with suppress(ValueError):
            length = int(digits[:9])
        record = content[len(digits) + 1 : length]
        key, equals, value = record.rstrip(b"\n").partition(b"=")
        if not equals or length <= len(digits):
            raise ModelFileCorruptError(path, "an extended header in it is damaged")
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        content = content[length:]
    return {key: found[key] for key in ("path", "size") if key in found}


def _checked_name(info: tarfile.TarInfo, name: str, path: Path) -> str:
    shown_name = shown(name, 120)
    if info.issym() or info.islnk():
        raise UnsafeCheckpointError(path, f"its member {shown_name} is a link to {shown(info.linkname, 120)}")
    if not (info.isreg() or info.isdir()):
        raise UnsafeCheckpointError(path, f"its member {shown_name} is a device or another special file")
    parts = {*PurePosixPath(name).parts, *PureWindowsPath(name).parts}
    absolute = PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or name.startswith("\\")
    if absolute or ".." in parts or "\0" in name:
        raise UnsafeCheckpointError(path, f"its member {shown_name} would lie outside the archive's folder")
    return PurePosixPath(name).as_posix()
