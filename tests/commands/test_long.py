"""`tdt transcribe` on long files and folders: running output, files valid at any time, going on after a kill."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import soundfile

from tdt.audio.folders import expand
from tdt.commands import main
from tdt.commands.running import journal_path
from tdt.longform import rounds
from tdt.longform.checkpoint import Journal
from tdt.text.writers import FileWriter

from .meetings import meeting_of

if TYPE_CHECKING:
    from tdt.text.transcript import Transcript

CHUNK = ["--chunk-seconds", "4"]


def transcribe(capsys: pytest.CaptureFixture[str], *words: str) -> SimpleNamespace:
    status = main(["transcribe", *words])
    captured = capsys.readouterr()
    return SimpleNamespace(status=status, out=captured.out, err=captured.err)


@pytest.fixture(scope="module")
def meeting(golden_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three quarters of a minute of digits and greetings with pauses."""
    return meeting_of(golden_folder, ("15_hello_world", "06_digits_theo") * 5, tmp_path_factory.mktemp("audio"))


def check_valid(path: Path) -> int:
    """Return how many cues or segments a file holds; fail where it is not valid."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return len(json.loads(text)["segments"])
    if path.suffix == ".txt":
        return len(text.split("."))
    if path.suffix == ".vtt":
        assert text.startswith("WEBVTT\n")
        assert text == "WEBVTT\n" or text.endswith("\n")
        return text.count("-->")
    blocks = [block for block in text.split("\n\n") if block]
    for number, block in enumerate(blocks, start=1):
        assert re.match(rf"{number}\n\d\d:\d\d:\d\d,\d{{3}} --> \d\d:\d\d:\d\d,\d{{3}}\n.+", block)
    assert not text or text.endswith("\n\n")
    return len(blocks)


@pytest.mark.parametrize("style", ["txt", "srt", "vtt", "json"])
def test_console_and_file_hold_the_same(
    style: str, capsys: pytest.CaptureFixture[str], meeting: Path, tmp_path: Path
) -> None:
    printed = transcribe(capsys, str(meeting), "--format", style, *CHUNK)
    written = transcribe(capsys, str(meeting), "--format", style, "-o", str(tmp_path), *CHUNK)
    assert (printed.status, written.status, written.out) == (0, 0, "")
    path = tmp_path / f"meeting.{style}"
    assert path.read_text(encoding="utf-8") == printed.out
    assert check_valid(path) >= 10
    assert [item.name for item in tmp_path.iterdir()] == [path.name], "no journal stays behind"


# Stops the process by SIGKILL in the middle of the run, after a number of blocks.
KILLED = """
import os, signal, sys
from tdt.longform import checkpoint, rounds
rounds.LOOKAHEAD_SECONDS = 8.0
add = checkpoint.Journal.add
count = 0
def adding(self, part):
    global count
    count += 1
    if count > {blocks}:
        os.kill(os.getpid(), signal.SIG{name})
        import time; time.sleep(5)
    add(self, part)
checkpoint.Journal.add = adding
from tdt.commands import main
sys.exit(main(sys.argv[1:]))
"""


def run_and_stop(name: str, blocks: int, *words: str) -> subprocess.CompletedProcess[str]:
    code = KILLED.format(blocks=blocks, name=name)
    return subprocess.run(
        [sys.executable, "-c", code, "transcribe", *words], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("style", ["srt", "json"])
def test_killed_and_resumed_gives_the_same_bytes(
    style: str,
    capsys: pytest.CaptureFixture[str],
    meeting: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = [str(meeting), "--format", style, *CHUNK, "-o"]
    monkeypatch.setattr(rounds, "LOOKAHEAD_SECONDS", 8.0)
    assert main(["transcribe", *words, str(tmp_path / "whole")]) == 0
    expected = (tmp_path / f"whole/meeting.{style}").read_bytes()
    counts = []
    for blocks in (2, 1) if style == "srt" else (2,):  # killed, resumed, and killed again
        killed = run_and_stop("KILL", blocks, *words, str(tmp_path / "killed"), "--resume")
        assert killed.returncode == -signal.SIGKILL
        counts.append(check_valid(tmp_path / f"killed/meeting.{style}"))
    assert 0 < counts[0] <= counts[-1] < check_valid(tmp_path / f"whole/meeting.{style}")
    resumed = transcribe(capsys, *words, str(tmp_path / "killed"), "--resume")
    assert resumed.status == 0
    assert "going on after" in resumed.err
    assert (tmp_path / f"killed/meeting.{style}").read_bytes() == expected


def test_several_at_once_killed_and_resumed_give_the_same_bytes(
    meeting: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of different lengths, so that other windows are under way together after the kill than before it."""
    samples, rate = soundfile.read(meeting, dtype="float32")
    talks = [tmp_path / f"{name}.flac" for name in "abc"]
    for talk, seconds in zip(talks, (30, 40, 20), strict=True):
        soundfile.write(talk, samples[rate * (seconds == 40) : rate * seconds], rate)
    words = [*map(str, talks), "--format", "json", *CHUNK, "-o"]
    monkeypatch.setattr(rounds, "LOOKAHEAD_SECONDS", 8.0)
    assert main(["transcribe", *words, str(tmp_path / "whole")]) == 0
    several = [str(tmp_path / "killed"), "--resume", "--jobs", "2"]
    assert run_and_stop("KILL", 4, *words, *several).returncode == -signal.SIGKILL
    left = {talk.stem: check_valid(path) for talk in talks if (path := tmp_path / f"killed/{talk.stem}.json").exists()}
    assert 0 < sum(left.values()) < sum(check_valid(tmp_path / f"whole/{talk.stem}.json") for talk in talks)
    assert main(["transcribe", *words, *several]) == 0
    for talk in talks:
        whole, resumed = ((tmp_path / folder / f"{talk.stem}.json").read_bytes() for folder in ("whole", "killed"))
        assert resumed == whole


def test_ctrl_c_keeps_what_is_done_and_resume_ends_it(meeting: Path, tmp_path: Path) -> None:
    words = [str(meeting), "--format", "json", *CHUNK, "-o", str(tmp_path)]
    stopped = run_and_stop("INT", 3, *words)
    assert stopped.returncode == 130
    assert "interrupted" in stopped.stderr
    kept = check_valid(tmp_path / "meeting.json")
    assert kept > 0
    assert main(["transcribe", *words, "--resume", "-q"]) == 0
    assert check_valid(tmp_path / "meeting.json") > kept


def test_a_journal_of_something_else_is_not_taken_up(
    capsys: pytest.CaptureFixture[str], meeting: Path, tmp_path: Path
) -> None:
    audio = tmp_path / "meeting.flac"
    shutil.copy(meeting, audio)
    words = [str(audio), "--format", "srt", *CHUNK, "-o", str(tmp_path / "out")]
    run_and_stop("KILL", 2, *words)
    journal = journal_path(tmp_path / "out/meeting.srt")
    assert journal.exists()
    os.utime(audio, (1, 1))
    ran = transcribe(capsys, *words, "--resume")
    assert ran.status == 0
    assert "going on" not in ran.err
    assert not journal.exists()


def test_a_journal_with_half_a_line_is_read_up_to_it(meeting: Path, tmp_path: Path) -> None:
    run_and_stop("KILL", 3, str(meeting), "--format", "txt", *CHUNK, "-o", str(tmp_path))
    path = journal_path(tmp_path / "meeting.txt")
    identity = {key: value for key, value in json.loads(path.read_bytes().split(b"\n")[0]).items() if key != "version"}
    replay = Journal(path, identity).read()
    assert replay is not None
    assert len(replay.blocks) == 3
    path.write_bytes(path.read_bytes()[:-9])
    shorter = Journal(path, identity)
    replay = shorter.read()
    assert replay is not None
    assert len(replay.blocks) == 2
    shorter.begin(replay)
    assert path.read_bytes().count(b"\n") == 3
    assert Journal(path, {**identity, "batch_size": 99}).read() is None


def test_a_corrupt_tail_is_told_and_the_rest_is_written(
    capsys: pytest.CaptureFixture[str], meeting: Path, tmp_path: Path
) -> None:
    raw = meeting.read_bytes()
    (tmp_path / "cut.flac").write_bytes(raw[: len(raw) * 2 // 3])
    ran = transcribe(capsys, str(tmp_path / "cut.flac"), "--format", "srt", *CHUNK, "-o", str(tmp_path))
    assert ran.status == 1
    assert "breaks off after" in ran.err
    assert check_valid(tmp_path / "cut.srt") >= 6


def test_folders(capsys: pytest.CaptureFixture[str], meeting: Path, golden_folder: Path, tmp_path: Path) -> None:
    tree = tmp_path / "talks"
    (tree / "day 1").mkdir(parents=True)
    shutil.copy(meeting, tree / "day 1" / "talk.flac")
    shutil.copy(golden_folder / "15_hello_world.flac", tree / "talk.flac")
    shutil.copy(golden_folder / "15_hello_world.flac", tree / "TALK2.FLAC")
    (tree / "notes.txt").write_text("no audio")
    (tree / "broken.wav").write_bytes(b"RIFF")
    words = [str(tree), "--recursive", "-o", str(tmp_path / "out"), *CHUNK]
    ran = transcribe(capsys, *words)
    assert ran.status == 1
    assert "broken.wav" in ran.err
    assert "3 done, 1 failed; " in ran.err
    assert "x real time" in ran.err
    written = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*"))
    assert written == ["TALK2.txt", "day 1/talk.txt", "talk.txt"]
    assert (tmp_path / "out/talk.txt").read_text() == "Hello world. Testing one, two, three.\n"
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.txt")}
    again = transcribe(capsys, *words, "--skip-existing")
    assert "0 done, 3 skipped, 1 failed" in again.err
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.txt")}
    several = transcribe(capsys, *words, "--jobs", "2", "--max-memory", "300M", "-q")
    assert several.status == 1


def test_what_a_folder_holds(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.mp3").touch()
    (tmp_path / "y.WAV").touch()
    assert [Path(e.file).name for e in expand([str(tmp_path)], recursive=False)] == ["y.WAV"]
    assert [(Path(e.file).name, str(e.parent)) for e in expand([str(tmp_path), "-"], recursive=True)] == [
        ("x.mp3", "a"),
        ("y.WAV", "."),
        ("-", "."),
    ]
    (tmp_path / "y.WAV").unlink()
    assert main(["transcribe", str(tmp_path)]) == 1


@pytest.mark.parametrize(
    "words",
    [
        ["--resume"],
        ["--skip-existing"],
        ["--jobs", "2"],
        ["--max-memory", "x"],
        ["--chunk-seconds", "999"],
        ["--context-seconds", "16"],
    ],
)
def test_wrong_usage(words: list[str], meeting: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main(["transcribe", str(meeting), *words])
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    assert words[0] in capsys.readouterr().err.replace("chunk_seconds", "--chunk-seconds")


def test_segments_are_printed_as_they_come(meeting: Path) -> None:
    """From a pipe that stays open, so that nothing can wait for its end."""
    audio = io.BytesIO()
    soundfile.write(audio, soundfile.read(meeting, dtype="int16")[0], 16000, format="AU", subtype="PCM_16")
    code = (
        "from tdt.longform import rounds; rounds.LOOKAHEAD_SECONDS = 8.0\n"
        "import sys; from tdt.commands import main; main()"
    )
    command = [sys.executable, "-c", code, "transcribe", "-", "--chunk-seconds", "8"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(audio.getvalue())
        process.stdin.flush()
        os.set_blocking(process.stdout.fileno(), False)
        first, deadline = b"", time.monotonic() + 120
        while b"world" not in first and time.monotonic() < deadline:
            first += process.stdout.read() or b""
            time.sleep(0.05)
        assert b"Hello world." in first
        assert process.poll() is None, "it still waits for more"
        process.stdin.close()
        process.wait(60)


def test_a_file_that_cannot_be_written_any_more_costs_its_own_recording_only(
    meeting: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The disk fills up while two long recordings share batches."""
    copies = [str(shutil.copy(meeting, tmp_path / f"{name}.flac")) for name in ("first", "second")]
    add = FileWriter.add

    def full(writer: FileWriter, part: Transcript) -> None:
        if writer.path.stem == "first":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        add(writer, part)

    monkeypatch.setattr(FileWriter, "add", full)
    ran = transcribe(capsys, *copies, "--format", "srt", "-o", str(tmp_path), "--jobs", "2", *CHUNK)
    assert ran.status == 1
    assert ran.err.count("first.flac: [Errno 28] No space left on device") == 1
    assert "1 done, 1 failed" in ran.err
    assert check_valid(tmp_path / "second.srt") >= 10
    assert not journal_path(tmp_path / "second.srt").exists()
    # What was done before the disk was full is not lost: there is room again, and the run goes on.
    monkeypatch.setattr(FileWriter, "add", add)
    again = transcribe(capsys, *copies, "--format", "srt", "-o", str(tmp_path), "--resume", *CHUNK)
    assert again.status == 0
    assert "1 done, 1 skipped" in again.err
    assert (tmp_path / "first.srt").read_bytes() == (tmp_path / "second.srt").read_bytes()
