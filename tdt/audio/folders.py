"""Which files a command is to work on: files as they are named, folders opened."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tdt.errors import AudioNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# What libsndfile and the usual decoders read; a file of another name can still be given by itself.
_LOSSLESS = {".wav", ".flac", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64", ".rf64"}
_LOSSY = {".mp3", ".mp2", ".ogg", ".oga", ".opus", ".m4a", ".m4b", ".aac", ".wma", ".amr"}
_VIDEO = {".mp4", ".webm", ".mka", ".mkv", ".mov", ".3gp"}
AUDIO_SUFFIXES = frozenset(_LOSSLESS | _LOSSY | _VIDEO)


class Entry(NamedTuple):
    """An input, and the folder below the output folder that its result goes to."""

    file: str
    parent: Path


def expand(files: Sequence[str], *, recursive: bool) -> list[Entry]:
    """Return the inputs with folders opened, in order of name; what a folder holds keeps its place below it.

    Parameters
    ----------
    files : sequence of str
        Files, folders, and `-`.
    recursive : bool
        Open the folders in folders, too.

    Raises
    ------
    AudioNotFoundError
        A folder without any audio file.
    """
    found: list[Entry] = []
    for file in files:
        path = Path(file)
        if file == "-" or not path.is_dir():
            found.append(Entry(file, Path()))
            continue
        inside = [Entry(str(item), item.parent.relative_to(path)) for item in _audio_files(path, recursive=recursive)]
        if not inside:
            hint = "" if recursive else " With --recursive, the folders in it are searched, too."
            raise AudioNotFoundError(f"{path} holds no audio file (by name: .wav, .flac, .mp3, …).{hint}")
        found += inside
    return found


def _audio_files(folder: Path, *, recursive: bool) -> Iterator[Path]:
    items = sorted(folder.rglob("*") if recursive else folder.iterdir())
    return (item for item in items if item.suffix.lower() in AUDIO_SUFFIXES and item.is_file())
