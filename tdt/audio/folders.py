"""Which files a command is to work on: files as they are named, folders opened."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tdt.audio.formats import HEAD_BYTES, by_head
from tdt.errors import AudioNotFoundError, AudioReadError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tdt.errors import AudioError

# Names of the formats of tdt.audio.formats, and of others that libsndfile reads; a file of another name can still be
# given by itself.
_LOSSLESS = {
    ".wav", ".wave", ".flac", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64", ".rf64", ".bwf", ".wv", ".tta",
    ".ape", ".voc", ".8svx", ".svx", ".sph", ".nist", ".ircam", ".sf", ".paf", ".pvf", ".htk", ".avr", ".wve", ".dsf",
    ".tak", ".shn", ".qoa", ".sds",
}  # fmt: skip
_LOSSY = {
    ".mp3", ".mp2", ".mp1", ".mpga", ".ogg", ".oga", ".opus", ".spx", ".m4a", ".m4b", ".m4r", ".aac", ".adts", ".wma",
    ".amr", ".awb", ".gsm", ".ac3", ".eac3", ".dts", ".ra", ".qcp", ".mka", ".weba", ".mpc",
    ".mp+", ".oma", ".aa3", ".loas", ".latm",
}  # fmt: skip
_VIDEO = {
    ".mp4", ".m4v", ".webm", ".mkv", ".mov", ".3gp", ".3g2", ".avi", ".wmv", ".asf", ".flv", ".f4v", ".ogv", ".mpg",
    ".mpeg", ".mts", ".m2ts", ".vob", ".rm", ".mxf", ".m2t",
    ".qt", ".nut", ".rmvb",
}  # fmt: skip
# Endings that other files have as often, as program text has .ts: there the first bytes tell.
SHARED_SUFFIXES = frozenset({".ts"})
AUDIO_SUFFIXES = frozenset(_LOSSLESS | _LOSSY | _VIDEO)


class Entry(NamedTuple):
    """An input, and the folder below the output folder that its result goes to; or what is wrong with it."""

    file: str
    parent: Path
    error: AudioError | None = None


class _Found(NamedTuple):
    """What a folder holds: audio files, and how many of what else."""

    audio: list[Path]
    others: Counter[str]
    folders: int


def expand(files: Sequence[str], *, recursive: bool, tell: Callable[[str], object] = str) -> list[Entry]:
    """Return the inputs with folders opened, in order of name; what a folder holds keeps its place below it.

    Parameters
    ----------
    files : sequence of str
        Files, folders, and `-`.
    recursive : bool
        Open the folders in folders, too.
    tell : callable, optional
        Told in a line what was left out of a folder.

    Returns
    -------
    list of Entry
        A folder without any audio file, or that cannot be opened, is an entry with its error.
    """
    entries: list[Entry] = []
    for file in files:
        path = Path(file)
        if file == "-" or not os.path.isdir(path):  # noqa: PTH112  says no where a name is too long, too
            entries.append(Entry(file, Path()))
            continue
        try:
            found = _look_into(path, recursive=recursive)
        except OSError as error:
            entries.append(Entry(file, Path(), AudioReadError(f"{path} cannot be opened: {error.strerror}.")))
            continue
        entries += [Entry(str(item), item.parent.relative_to(path)) for item in found.audio]
        if not found.audio:
            hint = "" if recursive else " With --recursive, the folders in it are searched, too."
            problem = f"{path} holds no audio file (by name: .wav, .flac, .mp3, …).{hint}"
            entries.append(Entry(file, Path(), AudioNotFoundError(problem)))
        elif left := _left_out(found):
            tell(f"{path}: left out {left}")
    return entries


def audio_files(folder: Path) -> list[Path]:
    """Return the audio files in a folder and in those below it, in order of name."""
    return _look_into(folder, recursive=True).audio


def _look_into(folder: Path, *, recursive: bool) -> _Found:
    audio, others, folders = [], Counter[str](), 0
    for item in sorted(folder.rglob("*") if recursive else folder.iterdir()):
        # macOS keeps what its own file system would about talk.wav in ._talk.wav: no sound, whatever the ending.
        if not item.name.startswith("._") and item.is_file() and _is_audio(item):
            audio.append(item)
        elif item.is_dir():
            folders += not recursive
        else:
            others["hidden" if item.name.startswith(".") else item.suffix.lower() or "without an ending"] += 1
    return _Found(audio, others, folders)


def _is_audio(path: Path) -> bool:
    suffix = path.suffix.lower()
    return suffix in AUDIO_SUFFIXES or (suffix in SHARED_SUFFIXES and _begins_as_audio(path))


def _begins_as_audio(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return by_head(file.read(HEAD_BYTES)) is not None
    except OSError:
        return False


def _left_out(found: _Found) -> str:
    parts = []
    if found.others:
        kinds = ", ".join(f"{count} {kind}" for kind, count in found.others.most_common(5))
        more = "" if len(found.others) <= 5 else ", …"
        parts.append(f"{found.others.total()} files that are no audio by their names ({kinds}{more})")
    if found.folders:
        parts.append(f"{found.folders} folders (--recursive searches them, too)")
    return " and ".join(parts)
