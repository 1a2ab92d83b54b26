"""Where reports go: files are opened before the work starts, so that a wrong path fails in the first second."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tdt.errors import OptionError, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import ReadableBuffer


class _File(io.FileIO):
    """A file whose error says that it is the output that cannot be written, whatever else is going on."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Write, or raise the typed error."""
        try:
            return super().write(data)
        except OSError as error:
            raise OutputError(str(self.name), error.strerror or str(error)) from error


@contextlib.contextmanager
def open_output(name: str | None) -> Iterator[TextIO]:
    """Open `name` for writing; None and `-` are the standard output.

    Raises
    ------
    OptionError
        The file cannot be opened.
    OutputError
        It cannot be written, as where the disk is full.
    """
    if name is None or name == "-":
        yield sys.stdout
        sys.stdout.flush()
        return
    try:
        raw = _File(name, "wb")
    except OSError as error:
        raise OptionError("output", name, f"a file that can be written ({error.strerror})") from error
    # Bytes of a file name that are no UTF-8 are escaped.
    with io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", "backslashreplace") as stream:
        yield stream


def write_file(name: str, content: str) -> None:
    """Write a text file.

    Raises
    ------
    OptionError, OutputError
        As :func:`open_output`.
    """
    with open_output(name) as stream:
        stream.write(content)


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
