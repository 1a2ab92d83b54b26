"""Packages: which are there, and what the import of a broken one raises, as an error that says what to do."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING

from tdt.errors import BrokenDependencyError, MissingDependencyError
from tdt.lifetime import begin_setting_up, end_setting_up

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@contextmanager
def needed(package: str) -> Iterator[None]:
    """Import a package in the block.

    Raises
    ------
    BrokenDependencyError
        Where it is missing, half removed, or lacks a library.
    """
    try:
        yield
    except (ImportError, AttributeError, OSError, RuntimeError, SystemError) as error:
        if isinstance(error, BrokenDependencyError):
            raise
        raise BrokenDependencyError(package, f"{type(error).__name__}: {error}") from error


@contextmanager
def extra(package: str, purpose: str, install: str) -> Iterator[None]:
    """Import a package in the block that not every installation has.

    Raises
    ------
    MissingDependencyError
        Where it is missing; it names the purpose, and the command that installs it.
    """
    try:
        yield
    except ImportError as error:
        raise MissingDependencyError(package, purpose, install) from error


def installed(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of those distributions that are installed, in the order asked."""
    import importlib.metadata

    found = {}
    for name in names:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


@cache
def _mark_compiling() -> None:
    """Have all that Numba ever compiles count as setting up: a fork meanwhile takes its locks along."""
    from tdt.kernels.vector.jit import tell_compiling

    tell_compiling(begin_setting_up, end_setting_up)


def require_compiler() -> None:
    """Refuse to go on where Numba cannot be imported or does not compile; before the first import of a kernel.

    Raises
    ------
    BrokenDependencyError
    """
    with needed("numba"):
        from tdt.kernels.vector.jit import can_compile

        _mark_compiling()
    if not can_compile():
        raise BrokenDependencyError(
            "numba", "NUMBA_DISABLE_JIT turns its compiler off, and the kernels are compiled code", "Unset it."
        )
