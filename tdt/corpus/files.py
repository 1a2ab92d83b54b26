"""Files by path or address (`s3://…`): listed, opened, and confined to a folder."""

from __future__ import annotations

import glob
import io
import os
import posixpath
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from tdt.dependencies import extra
from tdt.errors import AudioNotFoundError, AudioReadError, OutsideRootError
from tdt.failures import typed

if TYPE_CHECKING:
    from collections.abc import Sequence

_WILD = frozenset("*?[")
_BUFFER_BYTES = 1 << 20  # a request to a store far away costs as much as this


def is_address(path: str) -> bool:
    """Say whether a path is an address such as `s3://bucket/key`."""
    return "://" in path


def beside(owner: str, name: str) -> str:
    """Return the file that another one names: relative names lie beside it."""
    if is_address(name) or os.path.isabs(name):  # noqa: PTH117  a text, for any system's paths alike
        return name
    folder = owner.rpartition("/")[0]
    return f"{folder}/{name}" if folder else name


def matching(pattern: str) -> list[str]:
    """Return the files of a pattern in order of name; what has no wildcard is itself, whether it is there or not."""
    if not _WILD & set(pattern) or (not is_address(pattern) and os.path.lexists(pattern)):
        return [pattern]
    if not is_address(pattern):
        return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207  also from the root
    system, inside = _system(pattern)
    from fnmatch import fnmatchcase

    from pyarrow import fs

    fixed = posixpath.dirname(inside[: min(inside.index(sign) for sign in _WILD if sign in inside)])
    with typed(pattern, "reading"):
        found = system.get_file_info(fs.FileSelector(fixed, recursive=True, allow_not_found=True))
    scheme = pattern[: pattern.index("://") + 3]
    return sorted(
        scheme + entry.path
        for entry in found
        if entry.type == fs.FileType.File
        and fnmatchcase(entry.path, inside)
        and entry.path.count("/") == inside.count("/")
    )


def open_input(path: str) -> IO[bytes]:
    """Open a file by path or address for reading; it can seek.

    Raises
    ------
    AudioNotFoundError, AudioReadError
        It is not there, or cannot be opened.
    MissingDependencyError
        An address, without pyarrow.
    """
    try:
        if is_address(path):
            system, inside = _system(path)
            return cast("IO[bytes]", io.BufferedReader(system.open_input_file(inside), _BUFFER_BYTES))
        return Path(path).open("rb")
    except FileNotFoundError:
        raise AudioNotFoundError(f"{path} does not exist; a file of the corpus was expected. Check the path.") from None
    except (OSError, ValueError) as error:
        raise AudioReadError(f"{path} cannot be opened: {error}. Check the path and its permissions.") from error


def size_of(path: str) -> int:
    """Return the bytes of a file; raises as :func:`open_input`."""
    with open_input(path) as file:
        return file.seek(0, os.SEEK_END)


def is_folder(path: str) -> bool:
    """Say whether a path is a folder; addresses are files."""
    return not is_address(path) and os.path.isdir(path)  # noqa: PTH112  says no where a name is too long, too


def confined(path: str, root: str) -> None:
    """Refuse a path that leads out of a folder, links followed.

    Raises
    ------
    OutsideRootError
    """
    if is_address(root) or is_address(path):
        inside = posixpath.normpath(path) == path.rstrip("/").replace("://", ":/", 1) and is_address(root)
        if not inside or not path.startswith(root.rstrip("/") + "/"):
            raise OutsideRootError(path, root)
        return
    try:
        real, base = Path(path).resolve(), Path(root).resolve()
        # Links that go in circles are an error here up to Python 3.12, and stay as they are from 3.13 on.
        followed = not any(part.is_symlink() for part in (real, *real.parents))
    except (OSError, ValueError, RuntimeError):  # a name with a NUL, links in circles
        raise OutsideRootError(path, root) from None
    if not followed or not real.is_relative_to(base):
        raise OutsideRootError(path, root)


def pyarrow(purpose: str) -> Any:
    """Return the package.

    Raises
    ------
    MissingDependencyError
    """
    with extra("pyarrow", purpose, "pip install 'parakeet-tdt[corpus]'"):
        import pyarrow as package  # noqa: ICN001
    return package


def _system(path: str) -> tuple[Any, str]:
    pyarrow(f"The address {path}")
    from pyarrow import fs

    with typed(path, "reading"):
        system, inside = fs.FileSystem.from_uri(path)
    return system, cast("str", inside)


def absolute(paths: Sequence[str]) -> list[str]:
    """Return paths that mean the same in a worker on another machine; addresses stay."""
    return [path if is_address(path) else os.path.abspath(path) for path in paths]  # noqa: PTH100  links stay
