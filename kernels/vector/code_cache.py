"""Compiled code on the disk: found in any folder that may be trusted, kept in the first that can be written to.

In this order: where NUMBA_CACHE_DIR says, beside the sources, in the user's cache folder, in a temporary folder of this
user; where none can be written to, code stays in memory. Folders before it that can only be read serve too: what was
compiled when an image was built is there for whoever runs it. Entries count for the contents of all sources, not for
their dates.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from numba.core import caching, config

from . import folders

if TYPE_CHECKING:
    from collections.abc import Iterator

_log = logging.getLogger(__name__)
_HERE = Path(__file__).parents[1]


class Places(NamedTuple):
    """Where code of one source folder is looked for, in order, and where it is kept; `own` is made for this user."""

    read: tuple[Path, ...]
    write: Path | None
    own: bool


@cache
def places(source: Path) -> Places:
    """Return the places for the sources in a folder, as things are now."""
    below = f"{source.name}_{hashlib.sha256(str(source).encode()).hexdigest()[:16]}"
    shared = [source / "__pycache__"]
    if config.CACHE_DIR:
        given = Path(config.CACHE_DIR) / below
        if _may_be_read(given, source) and folders.is_writable(given):
            return Places((given,), given, own=False)
        shared.insert(0, given)
    own = [folder / "code" / below for folder in (folders.user_cache(), folders.temporary()) if folder is not None]
    trusted = [folder for folder in shared if _may_be_read(folder, source)]
    write = folders.first_writable([*trusted, *own])
    read = tuple(folder for folder in [*trusted, *own] if folder == write or folder.is_dir())
    return Places(read, write, own=write in own)


@contextmanager
def somewhere_to_keep() -> Iterator[None]:
    """Let packages that must keep what they compile have this user's temporary folder for it, while the block runs."""
    folder, before = folders.for_others(), config.CACHE_DIR
    if folder is not None and not before:
        config.CACHE_DIR = str(folder)
    try:
        yield
    finally:
        config.CACHE_DIR = before


def _may_be_read(folder: Path, source: Path) -> bool:
    """Say whether a folder's owner is this user, the administrator, or whoever owns the sources."""
    if os.name != "posix":
        return True
    try:
        return not folder.exists() or folder.stat().st_uid in {os.geteuid(), 0, source.stat().st_uid}
    except OSError:
        return False


class _Locator:
    """Tells Numba where; made for each function."""

    def __init__(self, function: Any, file: str) -> None:
        self._file = file
        self._line = function.__code__.co_firstlineno
        known = Path(file).is_file()  # a function typed in, or out of an archive, is not
        self.places = places(Path(file).absolute().parent) if known else Places((), None, own=False)

    @classmethod
    def from_function(cls, function: Any, file: str) -> _Locator:
        """Return the locator; there always is one."""
        return cls(function, file)

    @property
    def _py_file(self) -> str:  # what Numba's warnings name
        return self._file

    def ensure_cache_path(self) -> None:
        """Make the folder."""
        assert self.places.write is not None
        if self.places.own:
            folders.make(self.places.write)
        else:
            self.places.write.mkdir(parents=True, exist_ok=True)

    def get_cache_path(self) -> str | None:
        """Return the folder that is written to."""
        return None if self.places.write is None else str(self.places.write)

    def get_source_stamp(self) -> str:
        """Return what an entry is good for."""
        file = Path(self._file)
        return _SOURCES if not file.is_file() or file.is_relative_to(_HERE) else f"{_SOURCES} {_digest([file])}"

    def get_disambiguator(self) -> str:
        """Tell functions of one name apart."""
        return str(self._line)


class _Files(caching.CompileResultCacheImpl):  # type: ignore[misc]
    """Numba's own way to write a compiled function."""

    def __init__(self, function: Any) -> None:
        self._locator_classes = [_Locator]
        super().__init__(function)


class CodeCache(caching.FunctionCache):  # type: ignore[misc]
    """The cache of one function: never a reason to fail.

    Parameters
    ----------
    function : callable
    """

    def __init__(self, function: Any) -> None:
        self._name, self._py_func = repr(function), function
        self._impl = _Files(function)
        locator = self._impl.locator
        self._cache_path = locator.get_cache_path()
        stamp, base = locator.get_source_stamp(), self._impl.filename_base
        where = locator.places.read if isinstance(locator, _Locator) else [self._cache_path]
        self._files = [caching.IndexDataCacheFile(str(folder), base, stamp) for folder in where]
        self._cache_file = next((file for file in self._files if file._cache_path == self._cache_path), None)
        self.enable()

    def _load_overload(self, signature: Any, target: Any) -> Any:
        key = self._index_key(signature, target.codegen())
        for data in self._found(key):
            try:
                return self._impl.rebuild(target, data)
            except Exception as error:  # noqa: BLE001  whatever a damaged file may do
                _log.debug("compiled code of %s cannot be used: %s", self._name, error)
        return None

    def _found(self, key: Any) -> Iterator[Any]:
        for file in self._files:
            try:
                data = file.load(key)
            except Exception as error:  # noqa: BLE001  unreadable, or cut short
                _log.debug("compiled code in %s cannot be read: %s", file._cache_path, error)
                continue
            if data is not None:
                yield data

    def _save_overload(self, signature: Any, data: Any) -> None:
        if self._cache_file is None:
            _say_once(None)
            return
        try:
            try:
                super()._save_overload(signature, data)
            except (EOFError, ValueError, LookupError, pickle.UnpicklingError):  # the list of entries is damaged
                self._cache_file.flush()
                super()._save_overload(signature, data)
        except OSError as error:
            _say_once(error)


@cache
def _said() -> list[bool]:
    return []


def _say_once(error: OSError | None) -> None:
    if not _said():
        _said().append(True)
        _log.warning(
            "compiled code cannot be kept (%s): each process will compile anew, which takes some 20 s. Let "
            "NUMBA_CACHE_DIR name a folder that can be written to.",
            error or "no folder can be written to",
        )


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name} ".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


# Taken before the other modules are imported: an edit in between must not be cached under the newer stamp. Numba itself
# would take the one file that defines a function, though callees from other files are compiled into it.
_SOURCES = _digest(sorted(_HERE.rglob("*.py")))
