"""What the results of `tdt transcribe -o` are called: a name depends on its input alone.

`talk.wav` becomes `talk.srt`. Where that name is not its own, the ending stays: `talk.wav.srt`; where that is not,
either, a mark follows that stands for the whole path: `talk.wav-1a2b3c4d.srt`. A name is not its own if another input
of the call could take it, in whatever order they come (names that differ in case only count as the same, as some file
systems have it), or if the result of another file that is still there lies under it: each result notes on the file what
it was made from, where the file system keeps such notes (extended attributes). An input whose result is there keeps its
name.

Names of more than 255 bytes, the most that file systems take, are cut, and end in `~` and a mark of the whole.
"""

from __future__ import annotations

import os
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_NAME_BYTES = 255
_NOTE = "user.tdt.source"


def output_paths(files: Sequence[str], folders: Sequence[Path], style: str) -> list[Path]:
    """Return where the result of each input goes; an input that is given twice has one result.

    Parameters
    ----------
    files : sequence of str
        The inputs; `-` is standard input.
    folders : sequence of Path
        Folder of each result.
    style : str
        Format, and file ending.
    """
    choices = [
        [folder / name for name in possible_names(file, style)] for file, folder in zip(files, folders, strict=True)
    ]
    sources = [_absolute(file) for file in files]
    wanting: dict[str, set[str]] = {}
    for paths, source in zip(choices, sources, strict=True):
        for path in paths:
            wanting.setdefault(_folded(path), set()).add(source)
    return [_choose(paths, source, wanting) for paths, source in zip(choices, sources, strict=True)]


def possible_names(file: str, style: str) -> list[str]:
    """Return the names that an input may get, the shortest first; no other input has the last.

    Examples
    --------
    >>> possible_names("a/talk.wav", "srt")[:2]
    ['talk.srt', 'talk.wav.srt']
    """
    path = Path("stdin") if file == "-" else Path(file)
    stems = (path.stem, path.name, f"{path.name}-{_mark(_absolute(file))}")
    return list(dict.fromkeys(fitting(stem, f".{style}") for stem in stems))


def fitting(stem: str, ending: str) -> str:
    """Return a file name of two parts, the first cut where both are longer than file systems take.

    Examples
    --------
    >>> fitting("talk", ".srt")
    'talk.srt'
    >>> len(fitting("x" * 300, ".srt"))
    255
    """
    whole = os.fsencode(stem)
    room = MOST_NAME_BYTES - len(os.fsencode(ending))
    if len(whole) <= room:
        return stem + ending
    mark = f"~{_mark(stem)}"
    return whole[: room - len(mark)].decode("utf-8", "ignore") + mark + ending


def _choose(paths: Sequence[Path], source: str, wanting: dict[str, set[str]]) -> Path:
    *shorter, marked = paths
    mine = next((path for path in paths if source_of(path) == source), None)
    if mine is not None or marked.exists():
        return mine or marked
    free = (path for path in shorter if len(wanting[_folded(path)]) == 1 and not _is_of_another(path, source))
    return next(free, marked)


def _is_of_another(path: Path, source: str) -> bool:
    noted = source_of(path)
    return noted is not None and noted != source and Path(noted).exists()


def note_source(path: str, source: str) -> None:
    """Note on a file what it was made from, where the file system can."""
    with suppress(AttributeError, OSError):
        os.setxattr(path, _NOTE, os.fsencode(source))


def source_of(path: Path) -> str | None:
    """Return what a file was made from, where that is noted."""
    try:
        return os.fsdecode(os.getxattr(path, _NOTE))
    except (AttributeError, OSError):
        return None


def _absolute(file: str) -> str:
    return file if file == "-" else os.path.abspath(file)  # noqa: PTH100 - Path.resolve would follow links


def _folded(path: Path) -> str:
    return str(path).casefold()


def _mark(text: str) -> str:
    return sha256(os.fsencode(text)).hexdigest()[:8]
