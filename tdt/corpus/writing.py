"""The folder of a run: parts that are there whole or not at all, and the journal that lists them."""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, Self

from tdt.corpus import journal
from tdt.corpus.journal import Entry
from tdt.errors import OutputError, RunFolderError
from tdt.whole_files import written_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from tdt.corpus.shards import Shard
    from tdt.corpus.work import Report

SUMMARY = "_summary.json"


class RunFolder:
    """A run's folder, held by one process at a time.

    Parameters
    ----------
    path : Path
        Made where it does not exist.
    fingerprint : mapping
        All that decides what is written, apart from the input.
    ending : str
        Of the parts.

    Raises
    ------
    RunFolderError
        Another process writes there, or it holds another run's parts.
    OutputError
        It cannot be made or read.
    """

    def __init__(self, path: Path, fingerprint: Mapping[str, Any], ending: str) -> None:
        self.path = path
        self._fingerprint = dict(fingerprint)
        self._ending = ending
        self._file: IO[bytes] | None = None
        self._began = time.monotonic()
        self._lock: int | None = None
        with _told(path):
            path.mkdir(parents=True, exist_ok=True)
        self._hold()
        try:
            self.journal = self._read()
        except BaseException:
            self.close()
            raise

    def _hold(self) -> None:
        try:
            import fcntl
        except ImportError:  # no such thing on this system
            return
        with _told(self.path):
            self._lock = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            if isinstance(error, BlockingIOError):
                raise RunFolderError(
                    str(self.path), "another process is writing there; wait for it, or end it"
                ) from None
            raise OutputError(str(self.path), str(error.strerror)) from error

    def _read(self) -> journal.Journal:
        with _told(self.path):
            names = {entry.name for entry in self.path.iterdir()}
            if journal.NAME not in names:
                if any(name.startswith("part-") for name in names):
                    raise RunFolderError(str(self.path), f"it holds parts, but no {journal.NAME}; take an empty folder")
                return journal.Journal()
            found = journal.read((self.path / journal.NAME).read_bytes())
            sizes = {entry.file: self._size(entry.file) for entry in found.done.values()}
        if found.fingerprint is None:
            raise RunFolderError(str(self.path), f"its {journal.NAME} is no journal; take an empty folder")
        differing = journal.difference(found.fingerprint, self._fingerprint)
        if differing:
            raise RunFolderError(
                str(self.path), f"it holds another run: {differing}. Take another folder, or the same options"
            )
        found.done = {number: entry for number, entry in found.done.items() if sizes[entry.file] == entry.bytes}
        return found

    def _size(self, name: str) -> int:
        try:
            return (self.path / name).stat().st_size
        except FileNotFoundError:
            return -1

    def begin(self) -> None:
        """Open the journal for a start, without an unfinished last line; what a killed run left is removed."""
        path = self.path / journal.NAME
        with _told(self.path):
            for left in self.path.glob(".tdt-*.part"):
                left.unlink(missing_ok=True)
            if path.exists():
                data = path.read_bytes()
                whole = data[: data.rfind(b"\n") + 1]
                if len(whole) < len(data):
                    with path.open("r+b") as file:
                        file.truncate(len(whole))
            self._file = path.open("ab")
            if self.journal.fingerprint is None:
                self.journal.fingerprint = self._fingerprint
                self._append(journal.first_line(self._fingerprint))
            self._append(journal.start_line(len(self.journal.walls) + 1))
        self.journal.walls.append(0.0)
        self._began = time.monotonic()

    def commit(self, shard: Shard, report: Report) -> Entry:
        """Give a shard's file its name, then its line to the journal.

        Raises
        ------
        OutputError
            The disk is full, or the folder is gone; what was committed before stays.
        """
        name = f"{shard.name}.{self._ending}"
        with _told(self.path / name):
            with written_whole(self.path / name) as (file, _):
                file.write(report.payload)
                file.flush()
                os.fsync(file.fileno())
            entry = Entry(
                shard=shard.number,
                id=report.identity,
                file=name,
                bytes=len(report.payload),
                items=report.items,
                errors=report.errors,
                audio_seconds=round(report.audio_seconds, 3),
                seconds=round(report.seconds, 3),
                stages=report.stages,
                at=round(time.monotonic() - self._began, 3),
            )
            self._append(journal.entry_line(entry))
        self.journal.add(entry)
        return entry

    def _append(self, line: bytes) -> None:
        assert self._file is not None
        self._file.write(line)
        self._file.flush()
        os.fsync(self._file.fileno())

    def summary(self) -> dict[str, Any] | None:
        """Return the summary that is there."""
        try:
            found = json.loads((self.path / SUMMARY).read_bytes())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def summarise(self, summary: Mapping[str, Any]) -> None:
        """Write the summary.

        Raises
        ------
        OutputError
        """
        with _told(self.path / SUMMARY), written_whole(self.path / SUMMARY) as (file, _):
            file.write(json.dumps(summary, indent=2, ensure_ascii=False).encode() + b"\n")

    def close(self) -> None:
        """Let others write there."""
        if self._file is not None:
            with suppress(OSError):  # a full disk, told where it was met
                self._file.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def shards_done(folders: Iterable[Path]) -> list[Entry]:
    """Return what the journals of runs say of their shards.

    Raises
    ------
    RunFolderError
        A folder is none of a run.
    """
    found: list[Entry] = []
    for folder in folders:
        try:
            told = journal.read((folder / journal.NAME).read_bytes())
        except OSError as error:
            raise RunFolderError(str(folder), f"it has no {journal.NAME}; name the folder of a run") from error
        found += told.done.values()
    return found


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Raise what the system refuses as an error that says what to do."""
    try:
        yield
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(str(path), error.strerror or str(error)) from error
