"""Where things that were made once may be kept: the first folder that can be written to, and never another user's.

Whoever can write into a folder of compiled code can run code as its reader. Standard library only.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

NAME = "tdt"


def user_cache() -> Path | None:
    """Return this user's cache folder, whether or not it is there yet; None where there is no such place.

    It counts only where it is this user's own: as another user, with the environment of the one before (`sudo -E`,
    `su`), it may be someone else's.
    """
    given = Path(os.environ.get("XDG_CACHE_HOME") or "")
    try:
        base = given if given.is_absolute() else Path.home() / ".cache"
    except RuntimeError:  # a user without a home
        return None
    folder = base / NAME
    return folder if all(is_own(part, strictly=False) for part in (base, folder)) else None


def temporary() -> Path | None:
    """Return this user's folder among the temporary ones, whether or not it is there yet."""
    if os.name != "posix":
        return Path(tempfile.gettempdir()) / NAME
    for base in (*map(os.environ.get, ("TMPDIR", "TEMP", "TMP")), "/tmp", "/var/tmp"):  # noqa: S108  checked below
        folder = Path(base or "") / f"{NAME}-{os.geteuid()}"
        if folder.is_absolute() and is_own(folder, strictly=True) and is_writable(folder):
            return folder
    return None


def for_others() -> Path | None:
    """Return a temporary folder of this user's, made, for packages that must keep what they compile; None without."""
    base = temporary()
    try:
        if base is not None:
            make(base / "others")
            return base / "others"
    except OSError:
        pass
    return None


def is_own(folder: Path, *, strictly: bool) -> bool:
    """Say whether nobody but this user (or, unless `strictly`, the administrator) put anything into a folder.

    A folder that is not there yet is everybody's to make, and so is nobody else's.
    """
    try:
        found = folder.lstat() if strictly else folder.stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    if os.name != "posix":
        return stat.S_ISDIR(found.st_mode)
    owners = {os.geteuid()} if strictly else {os.geteuid(), 0}
    others = 0o077 if strictly else 0o002
    return stat.S_ISDIR(found.st_mode) and found.st_uid in owners and not found.st_mode & others


def is_writable(folder: Path) -> bool:
    """Say whether a folder can be written to, or made."""
    try:
        while not folder.exists():
            folder = folder.parent
    except OSError:
        return False
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def make(folder: Path) -> None:
    """Make a folder that is nobody else's.

    Raises
    ------
    OSError
        Where it cannot be made, or another user was faster.
    """
    for part in (*reversed(folder.parents), folder):  # `parents=True` would let the umask decide about those above
        if not part.exists():
            part.mkdir(mode=0o700, exist_ok=True)
    if not is_own(folder, strictly=False):
        raise PermissionError(f"{folder} belongs to someone else")


def first_writable(folders: Iterable[Path | None]) -> Path | None:
    """Return the first of some folders that can be written to."""
    return next((folder for folder in folders if folder is not None and is_writable(folder)), None)
