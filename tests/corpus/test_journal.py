"""What is done is written down once it is there: the journal, the folder of a run, what goes wrong with either."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tdt.corpus.writing
from tdt.corpus import journal
from tdt.corpus.items import Pack
from tdt.corpus.shards import Shard
from tdt.corpus.work import Report
from tdt.corpus.writing import RunFolder
from tdt.errors import OutputError, RunFolderError

FINGERPRINT = {"model": "m", "detail": "text"}


def shard(number: int) -> Shard:
    return Shard(number, Pack("nemo", "m.jsonl", number, 1, text=b"{}"))


def report(number: int, payload: bytes = b"line\n") -> Report:
    identity = shard(number).pack.identity()
    return Report(number, identity, payload, 2, {"AudioReadError": 1}, 3.0, 0.5, {"encoder": 0.25})


def started(path: Path, shards: int = 0) -> RunFolder:
    folder = RunFolder(path, FINGERPRINT, "jsonl")
    folder.begin()
    for number in range(shards):
        folder.commit(shard(number), report(number))
    return folder


def test_a_journal_says_what_is_done(tmp_path: Path) -> None:
    started(tmp_path, 2).close()
    started(tmp_path).close()
    found = journal.read((tmp_path / journal.NAME).read_bytes())
    assert found.fingerprint == FINGERPRINT
    assert sorted(found.done) == [0, 1]
    assert (found.done[1].file, found.done[1].bytes, found.done[1].errors) == (
        "part-00001.jsonl",
        5,
        {"AudioReadError": 1},
    )
    assert len(found.walls) == 2


def test_a_journal_cut_anywhere_says_what_was_whole(tmp_path: Path) -> None:
    """What would be caught: a driver killed amid a line, whose shard counts as done, or whose journal is of no use."""
    started(tmp_path, 3).close()
    data = (tmp_path / journal.NAME).read_bytes()
    ends = [place + 1 for place, byte in enumerate(data) if byte == ord("\n")]
    for cut in range(len(data) + 1):
        whole = sum(end <= cut for end in ends)
        found = journal.read(data[:cut])
        assert (found.fingerprint is not None) == (whole > 0)
        assert len(found.done) == max(0, whole - 2)
    torn = data[: ends[-1] - 7]
    (tmp_path / journal.NAME).write_bytes(torn)
    folder = started(tmp_path)
    assert sorted(folder.journal.done) == [0, 1]
    folder.commit(shard(2), report(2))
    folder.close()
    assert sorted(journal.read((tmp_path / journal.NAME).read_bytes()).done) == [0, 1, 2]


def test_lines_that_are_none_are_passed_over(tmp_path: Path) -> None:
    started(tmp_path, 2).close()
    data = (tmp_path / journal.NAME).read_bytes().split(b"\n")
    data[2] = b'{"shard": 0, "unknown": 1}'
    (tmp_path / journal.NAME).write_bytes(b"\n".join(data))
    with RunFolder(tmp_path, FINGERPRINT, "jsonl") as folder:
        assert sorted(folder.journal.done) == [1]


def test_another_fingerprint_is_refused_with_the_difference(tmp_path: Path) -> None:
    started(tmp_path, 1).close()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(
        RunFolderError, match='holds another run: detail was "text" and is "words", gpu was not there and is 1'
    ):
        RunFolder(tmp_path, {"model": "m", "detail": "words", "gpu": 1}, "jsonl")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_folders_of_something_else_are_refused(tmp_path: Path) -> None:
    (tmp_path / "part-00000.jsonl").write_text("{}\n")
    with pytest.raises(RunFolderError, match="it holds parts, but no _progress"):
        RunFolder(tmp_path, FINGERPRINT, "jsonl")
    (tmp_path / journal.NAME).write_text("something else\n")
    with pytest.raises(RunFolderError, match="is no journal"):
        RunFolder(tmp_path, FINGERPRINT, "jsonl")
    with pytest.raises(OutputError):
        RunFolder(tmp_path / "part-00000.jsonl" / "out", FINGERPRINT, "jsonl")


def test_a_folder_takes_one_run_at_a_time(tmp_path: Path) -> None:
    """What would be caught: two drivers that write one journal."""
    folder = started(tmp_path)
    code = (
        "import sys; from pathlib import Path; from tdt.corpus.writing import RunFolder\n"
        f"RunFolder(Path({str(tmp_path)!r}), {FINGERPRINT!r}, 'jsonl')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "another process is writing there" in done.stderr
    folder.close()
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_parts_that_are_gone_or_cut_are_done_again(tmp_path: Path) -> None:
    started(tmp_path, 3).close()
    (tmp_path / "part-00000.jsonl").unlink()
    (tmp_path / "part-00001.jsonl").write_bytes(b"li")
    with RunFolder(tmp_path, FINGERPRINT, "jsonl") as folder:
        assert sorted(folder.journal.done) == [2]


@pytest.mark.parametrize("call", ["write", "flush", "rename", "journal"])
def test_a_full_disk(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be caught: a part cut short that counts as done, or what was done before lost."""
    folder = started(tmp_path, 2)
    full = OSError(errno.ENOSPC, "No space left on device")

    def refuse(*_: object, **__: object) -> Any:
        raise full

    if call == "journal":
        monkeypatch.setattr(folder, "_append", refuse)
    elif call == "rename":
        monkeypatch.setattr(Path, "replace", refuse)
    elif call == "flush":
        monkeypatch.setattr("os.fsync", refuse)
    else:
        monkeypatch.setattr(tdt.corpus.writing, "written_whole", refuse)
    with pytest.raises(OutputError, match="No space left on device"):
        folder.commit(shard(2), report(2))
    monkeypatch.undo()
    folder.close()
    assert not list(tmp_path.glob(".tdt-*"))
    again = started(tmp_path)
    assert sorted(again.journal.done) == [0, 1]
    again.commit(shard(2), report(2))
    again.close()
    assert (tmp_path / "part-00002.jsonl").read_bytes() == b"line\n"


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    started(tmp_path, 1).close()
    (tmp_path / ".tdt-abc.part").write_bytes(b"half")
    (tmp_path / "mine.txt").write_text("stays")
    started(tmp_path).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [journal.NAME, "mine.txt", "part-00000.jsonl"]


def test_the_part_is_there_before_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be caught: a line in the journal for a part that a crash has taken."""
    folder = started(tmp_path)
    append, seen = folder._append, []

    def watched(line: bytes) -> None:
        seen.append((json.loads(line)["file"], (tmp_path / "part-00000.jsonl").read_bytes()))
        append(line)

    monkeypatch.setattr(folder, "_append", watched)
    folder.commit(shard(0), report(0))
    folder.close()
    assert seen == [("part-00000.jsonl", b"line\n")]
