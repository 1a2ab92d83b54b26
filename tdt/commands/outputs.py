"""Where `tdt transcribe` puts its results: standard output, or a file for each input."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tdt.errors import OptionError
from tdt.text import FORMATS

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
        # JSON and subtitles are UTF-8 wherever they run.
        encoding = (sys.stdout.encoding or "utf-8").lower().replace("-", "")
        if encoding != "utf8" and hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(encoding="utf-8")

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
        All inputs; two of the same name get outputs of different names.
    style : str
        Format, and file ending.
    parents : sequence of Path, optional
        Folder below `folder` for each input.

    Raises
    ------
    OptionError
        Where the folder cannot be made.
    """

    def __init__(self, folder: str, files: Sequence[str], style: str, parents: Sequence[Path] = ()) -> None:
        self._folder = Path(folder)
        self._render = FORMATS[style]
        below = parents or [Path()] * len(files)
        self._paths: dict[int, Path] = {}
        for parent in dict.fromkeys(below):
            places = [place for place, other in enumerate(below) if other == parent]
            names = output_names([files[place] for place in places], style)
            self._paths.update(zip(places, (self._folder / parent / name for name in names), strict=True))
        try:
            for parent in {Path(), *below}:
                (self._folder / parent).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OptionError(
                "--output", folder, f"a folder that can be made or written to ({error.strerror})"
            ) from error

    @property
    def on_terminal(self) -> bool:
        """Whether results appear before the user's eyes."""
        return False

    def write(self, index: int, file: str, transcript: Transcript) -> None:
        """Write the file of one result."""
        write_atomically(self._paths[index], self._render(transcript, file=file))

    def path(self, index: int) -> Path:
        """Return where the result of the input number `index` goes."""
        return self._paths[index]


def output_names(files: Sequence[str], style: str) -> list[str]:
    """Return a file name for each input, all different.

    `talk.wav` becomes `talk.srt`; where another input has the same stem, `talk.wav.srt`; where that is taken, too,
    `talk.wav-2.srt`. Names that differ in case only count as the same, as some file systems have it.

    Examples
    --------
    >>> output_names(["a/talk.wav", "b/talk.flac", "b/talk.wav", "-"], "srt")
    ['talk.wav.srt', 'talk.flac.srt', 'talk.wav-2.srt', 'stdin.srt']
    """
    paths = [Path("stdin") if file == "-" else Path(file) for file in files]
    stems = [path.stem.casefold() for path in paths]
    names: list[str] = []
    taken: set[str] = set()
    for path, stem in zip(paths, stems, strict=True):
        base = path.stem if stems.count(stem) == 1 else path.name
        name, number = f"{base}.{style}", 1
        while name.casefold() in taken:
            number += 1
            name = f"{base}-{number}.{style}"
        taken.add(name.casefold())
        names.append(name)
    return names


def write_atomically(path: Path, text: str) -> None:
    """Write a UTF-8 text file that is there whole or not at all.

    Raises
    ------
    OSError
        Where it cannot be written; nothing is left behind.
    """
    number, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:80]}.", suffix=".part")
    try:
        with os.fdopen(number, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        mask = os.umask(0)
        os.umask(mask)
        Path(temporary).chmod(0o666 & ~mask)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
