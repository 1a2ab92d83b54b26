"""Where reports go: files are opened before the work starts, so that a wrong path fails in the first second."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tdt.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def open_output(name: str | None) -> Iterator[TextIO]:
    """Open `name` for writing; None and `-` are the standard output.

    Raises
    ------
    OptionError
        The file cannot be written.
    """
    if name is None or name == "-":
        yield sys.stdout
        sys.stdout.flush()
        return
    try:
        stream = Path(name).open("w", encoding="utf-8")  # noqa: SIM115 - closed below, opened early on purpose
    except OSError as error:
        raise OptionError("output", name, f"a file that can be written ({error.strerror})") from error
    with stream:
        yield stream


def check_writable(name: str | None) -> None:
    """Refuse a file that a later step could not write; nothing is left behind where it did not exist.

    Raises
    ------
    OptionError
        The file cannot be written.
    """
    if name is None:
        return
    path = Path(name)
    existed = path.exists()
    try:
        with path.open("a", encoding="utf-8"):
            pass
    except OSError as error:
        raise OptionError("output", name, f"a file that can be written ({error.strerror})") from error
    if not existed:
        path.unlink()


def say(line: str) -> None:
    """Tell the user something that is no part of the report."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
