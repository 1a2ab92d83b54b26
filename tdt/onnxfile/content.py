"""Read small untrusted files with a bound, and tell failed downloads from the real thing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.errors import ModelFileCorruptError, ModelFileNotFoundError

if TYPE_CHECKING:
    from pathlib import Path

_PAGES = (b"<!doctype", b"<html", b"<head", b"<?xml")
_POINTER = b"version https://git-lfs"


def foreign_content(head: bytes) -> str | None:
    """Say what a file is that starts with `head`, where it is one of the usual failed downloads."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(_POINTER):
        return "it is a Git-LFS pointer, not the file itself (`git lfs pull` fetches it)"
    if start.startswith(_PAGES):
        return "it is a web page: the download was answered with an error or login page"
    return None


def size_of(path: Path) -> int:
    """Return the size in bytes of the regular, non-empty file at `path`.

    Raises
    ------
    ModelFileNotFoundError
        Where there is no such file.
    ModelFileCorruptError
        Where it is empty or not a regular file.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        folder = path.parent
        found = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
        raise ModelFileNotFoundError(folder, path.name, found) from error
    except OSError as error:
        raise ModelFileCorruptError(path, f"the system refuses ({error.strerror})") from error
    if not path.is_file():
        raise ModelFileCorruptError(path, "it is not a regular file")
    if status.st_size == 0:
        raise ModelFileCorruptError(path, "it is empty (0 bytes)")
    return status.st_size


def read_small(path: Path, limit: int) -> bytes:
    """Return the content of a file that may have `limit` bytes at most.

    Raises
    ------
    ModelFileNotFoundError
        Where there is no such file.
    ModelFileCorruptError
        Where it is empty, too large, unreadable, a Git-LFS pointer or a web page.
    """
    size = size_of(path)
    if size > limit:
        raise ModelFileCorruptError(path, f"it has {size} bytes; such a file has {limit} at most")
    try:
        with path.open("rb") as stream:
            content = stream.read(limit)
    except OSError as error:
        raise ModelFileCorruptError(path, f"the system refuses ({error.strerror})") from error
    problem = foreign_content(content[:512])
    if problem is not None:
        raise ModelFileCorruptError(path, problem)
    return content
