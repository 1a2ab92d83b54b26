"""Where `tdt transcribe` puts its results: standard output, or a file for each input."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tdt.commands.names import note_source, output_paths
from tdt.errors import OptionError
from tdt.text import FORMATS
from tdt.whole_files import written_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.text import Transcript


class Output(Protocol):
    """Takes the results, in the order of the inputs."""

    @property
    def on_terminal(self) -> bool:
        """Whether results appear before the user's eyes."""
        ...

    def write(self, index: int, file: str, transcript: Transcript) -> None:
        """Put out the result of the input number `index`, complete when this returns."""
        ...


class Stream:
    """Standard output, flushed after each result."""

    def __init__(self, style: str) -> None:
        self._render = FORMATS[style]

    @property
    def on_terminal(self) -> bool:
        """Whether results appear before the user's eyes."""
        return sys.stdout.isatty()

    def write(self, index: int, file: str, transcript: Transcript) -> None:  # noqa: ARG002
        """Print one result."""
        sys.stdout.write(self._render(transcript, file=file))
        sys.stdout.flush()


class Folder:
    """A file for each input, named after it; each appears whole or not at all.

    Parameters
    ----------
    folder : str
        Made where it does not exist.
    files : sequence of str
        All inputs; different ones get outputs of different names (:mod:`tdt.commands.names`).
    style : str
        Format, and file ending.
    parents : sequence of Path, optional
        Folder below `folder` for each input.

    Raises
    ------
    OptionError
        Where the folder cannot be made, or a result would overwrite an input.
    """

    def __init__(self, folder: str, files: Sequence[str], style: str, parents: Sequence[Path] = ()) -> None:
        self._render = FORMATS[style]
        below = [Path(folder) / parent for parent in parents or [Path()] * len(files)]
        try:
            for parent in {Path(folder), *below}:
                parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OptionError(
                "--output", folder, f"a folder that can be made or written to ({error.strerror})"
            ) from error
        self._paths = output_paths(files, below, style)
        self._sources = [None if file == "-" else os.path.abspath(file) for file in files]  # noqa: PTH100 - no links
        _refuse_overwriting(folder, files, self._paths)

    @property
    def on_terminal(self) -> bool:
        """Whether results appear before the user's eyes."""
        return False

    def write(self, index: int, file: str, transcript: Transcript) -> None:
        """Write the file of one result."""
        self.replace(index, self._render(transcript, file=file))

    def replace(self, index: int, text: str) -> None:
        """Write the file of the input number `index` whole, with a note of where it comes from."""
        write_atomically(self._paths[index], text, self._sources[index])

    def path(self, index: int) -> Path:
        """Return where the result of the input number `index` goes."""
        return self._paths[index]


def _refuse_overwriting(folder: str, files: Sequence[str], paths: Sequence[Path]) -> None:
    inputs = {identity: file for file in files if (identity := _identity(Path(file))) is not None}
    for file, path in zip(files, paths, strict=True):
        identity = _identity(path)
        if identity in inputs:
            expected = f"another folder: the result of {file} would overwrite {inputs[identity]}"
            raise OptionError("--output", folder, expected)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def write_atomically(path: Path, text: str, source: str | None = None) -> None:
    """Write a UTF-8 text file that is there whole or not at all.

    Parameters
    ----------
    path : Path
    text : str
    source : str, optional
        What it was made from, noted on the file.

    Raises
    ------
    OSError
        Where it cannot be written; nothing is left behind.
    """
    with written_whole(path) as (file, place):
        file.write(text.encode())
        if source is not None:
            note_source(str(place), source)
