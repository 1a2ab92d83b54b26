"""`tdt transcribe`: formats, files, exit statuses, pipes, interruptions."""

from __future__ import annotations

import io
import json
import os
import pty
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

from tdt.audio.folders import expand
from tdt.commands import main
from tdt.commands.messages import Messages
from tdt.commands.names import possible_names
from tdt.commands.outputs import write_atomically
from tdt.quantization.clips import find_audio

if TYPE_CHECKING:
    from collections.abc import Sequence

HELLO = "Hello world. Testing one, two, three."
DIGITS = "Seven, four, eight, seven, four, eight, three."


@pytest.fixture(scope="module")
def hello(golden_folder: Path) -> str:
    return str(golden_folder / "15_hello_world.flac")


@pytest.fixture(scope="module")
def digits(golden_folder: Path) -> str:
    return str(golden_folder / "06_digits_theo.flac")


def transcribe(capsys: pytest.CaptureFixture[str], *words: str) -> SimpleNamespace:
    status = main(["transcribe", *words])
    captured = capsys.readouterr()
    return SimpleNamespace(status=status, out=captured.out, err=captured.err)


def test_text_of_several_files_one_a_line(capsys: pytest.CaptureFixture[str], hello: str, digits: str) -> None:
    ran = transcribe(capsys, hello, digits)
    assert (ran.status, ran.out, ran.err) == (0, f"{HELLO}\n{DIGITS}\n", "")


def test_json_lines(capsys: pytest.CaptureFixture[str], hello: str, golden_folder: Path) -> None:
    silence = str(golden_folder / "09_silence_1s.flac")
    ran = transcribe(capsys, hello, silence, "--format", "json")
    first, second = (json.loads(line) for line in ran.out.splitlines())
    assert list(first) == ["file", "text", "audio_seconds", "tokens", "words", "segments", "gaps"]
    assert list(first["tokens"][0]) == ["id", "piece", "frame", "duration", "start", "end", "confidence"]
    assert list(first["words"][0]) == ["text", "start", "end", "confidence"]
    assert list(first["segments"][0]) == ["text", "start", "end"]
    assert (first["file"], first["text"], first["audio_seconds"]) == (hello, HELLO, 4.025)
    nothing = {"tokens": [], "words": [], "segments": [], "gaps": []}
    assert second == {"file": silence, "text": "", "audio_seconds": 1.0, **nothing}


def test_subtitles(capsys: pytest.CaptureFixture[str], hello: str) -> None:
    assert transcribe(capsys, hello, "--format", "vtt").out == (
        "WEBVTT\n\n00:00:00.480 --> 00:00:01.480\nHello world.\n"
        "\n00:00:02.000 --> 00:00:03.200\nTesting one, two, three.\n"
    )
    ran = transcribe(capsys, hello, hello, "--format", "srt")
    assert ran.out.count("00:00:00,480 --> 00:00:01,480") == 2
    assert "-o DIR" in ran.err


def test_one_bad_file_costs_no_other(
    capsys: pytest.CaptureFixture[str], hello: str, digits: str, tmp_path: Path
) -> None:
    (tmp_path / "text.wav").write_text("no sound at all")
    ran = transcribe(capsys, digits, "absent.wav", str(tmp_path / "text.wav"), hello, "--quiet")
    assert (ran.status, ran.out) == (1, f"{DIGITS}\n{HELLO}\n")
    assert "absent.wav does not exist" in ran.err
    assert "text.wav" in ran.err
    assert "2 of 4 files failed" in ran.err


def test_options_reach_the_recogniser(capsys: pytest.CaptureFixture[str], hello: str, models: Path) -> None:
    model = str(models / "sherpa-onnx-parakeet-tdt-tiny")
    words = ["--model", model, "--precision", "int8", "--decoder", "onnx", "--confidence", "max_prob"]
    ran = transcribe(capsys, hello, *words, "--threads", "1", "--batch-size", "1", "--channel", "0")
    assert (ran.status, ran.out) == (0, HELLO + "\n")


@pytest.mark.parametrize(
    "words",
    [
        [], ["-", "-"], ["x.wav", "--format", "doc"], ["x.wav", "--batch-size", "0"], ["x.wav", "--channel", "-1"],
        ["x.wav", "--provider", "tpu"], ["x.wav", "--decoder", "onnx", "--weights", "int8"],
        ["x.wav", "--threads", "two"], ["x.wav", "-o", __file__],
    ],
)  # fmt: skip
def test_wrong_usage(capsys: pytest.CaptureFixture[str], words: Sequence[str]) -> None:
    try:
        status = main(["transcribe", *words])
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    assert (status, captured.out) == (2, "")
    assert "tdt transcribe: " in captured.err
    assert "Traceback" not in captured.err


def test_a_model_that_is_none(capsys: pytest.CaptureFixture[str], hello: str, tmp_path: Path) -> None:
    ran = transcribe(capsys, hello, "--model", str(tmp_path))
    assert (ran.status, ran.out) == (1, "")
    assert str(tmp_path) in ran.err


def test_standard_input(capsys: pytest.CaptureFixture[str], hello: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(Path(hello).read_bytes())))
    ran = transcribe(capsys, "-", "--format", "json")
    assert ran.status == 0
    assert json.loads(ran.out)["file"] == "-"
    assert json.loads(ran.out)["text"] == HELLO
    ran = transcribe(capsys, "-")  # at its end by now
    assert (ran.status, ran.out) == (1, "")


# --- files ------------------------------------------------------------------------------------------------------------


def test_files_of_one_name_do_not_overwrite_each_other(
    capsys: pytest.CaptureFixture[str], hello: str, digits: str, tmp_path: Path
) -> None:
    inputs = []
    for folder, source in (("a", hello), ("b", digits)):
        (tmp_path / folder).mkdir()
        inputs.append(str(shutil.copy(source, tmp_path / folder / "talk.flac")))
    ran = transcribe(capsys, *inputs, hello, "-o", str(tmp_path / "new" / "out"))
    assert (ran.status, ran.out) == (0, "")
    written = {path.name: path.read_text() for path in (tmp_path / "new" / "out").iterdir()}
    first, second = (possible_names(file, "txt")[-1] for file in inputs)
    assert written == {first: HELLO + "\n", second: DIGITS + "\n", "15_hello_world.txt": HELLO + "\n"}
    assert re.fullmatch(r"talk\.flac-[0-9a-f]{8}\.txt", first)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    write_atomically(target, "grün\n")
    assert target.read_bytes() == "grün\n".encode()
    with pytest.raises(UnicodeEncodeError):
        write_atomically(target, "\udcff")
    assert target.read_bytes() == "grün\n".encode()
    assert list(tmp_path.iterdir()) == [target]


def test_a_result_that_cannot_be_written_is_a_failure(
    capsys: pytest.CaptureFixture[str], hello: str, digits: str, tmp_path: Path
) -> None:
    (tmp_path / "15_hello_world.txt").mkdir()  # a folder where the file should go
    ran = transcribe(capsys, hello, digits, "-o", str(tmp_path))
    assert ran.status == 1
    assert "15_hello_world.txt" in ran.err
    assert (tmp_path / "06_digits_theo.txt").read_text() == DIGITS + "\n"


# --- processes --------------------------------------------------------------------------------------------------------


def test_a_closed_pipe_ends_quietly(hello: str) -> None:
    command = [sys.executable, "-m", "tdt", "transcribe", *[hello] * 3, "--batch-size", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141  # as a shell has it of what SIGPIPE ends


def test_ctrl_c_keeps_what_is_done(hello: str) -> None:
    command = [sys.executable, "-m", "tdt", "transcribe", *[hello] * 2000, "--batch-size", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == HELLO + "\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert set(out.splitlines()) <= {HELLO}
    assert "interrupted" in err
    assert "Traceback" not in err


def test_utf8_goes_out_in_any_locale(hello: str) -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "tdt", "transcribe", hello, "--format", "json"]
    ran = subprocess.run(command, env=environment, check=True, capture_output=True)
    assert "▁H" in ran.stdout.decode("utf-8")


def test_progress_is_for_terminals_only(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with Messages("tdt test").progress(3) as advance:
        advance()
    assert capsys.readouterr().err == ""
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as terminal, monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", terminal)
        patched.setenv("TERM", "xterm")
        with Messages("tdt test").progress(3) as advance:
            advance()
            time.sleep(0.2)  # rich draws ten times a second
        with Messages("tdt test", quiet=True).progress(3) as advance:
            advance()
    shown = os.read(master, 1 << 16).decode()
    os.close(master)
    assert "1/3" in shown


def test_help_and_version_are_quick_and_complete(capsys: pytest.CaptureFixture[str]) -> None:
    for words, expected in (
        (["transcribe", "--help"], "examples:"),
        (["--version"], "tdt 0."),
        (["--help"], "inspect"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 0
        assert expected in capsys.readouterr().out


# --- folders ----------------------------------------------------------------------------------------------------------


def test_a_folder_says_what_it_left_out(capsys: pytest.CaptureFixture[str], hello: str, tmp_path: Path) -> None:
    talks = tmp_path / "talks"
    (talks / "day 1").mkdir(parents=True)
    shutil.copy(hello, talks / "talk.flac")
    shutil.copy(hello, talks / "day 1" / "talk.flac")
    for name in ("._talk.flac", ".DS_Store", "notes.txt", "cover.jpg", "more.txt", "README"):
        (talks / name).write_bytes(b"\0\x05\x16\x07")
    ran = transcribe(capsys, str(talks))
    assert (ran.status, ran.out) == (0, f"{HELLO}\n")
    expected = (
        f"{talks}: left out 6 files that are no audio by their names (2 hidden, 2 .txt, 1 .jpg, 1 without an ending)"
    )
    order = sorted(re.search(r"\((.*?)\)", ran.err)[1].split(", "))  # type: ignore[index]
    assert order == sorted(re.search(r"\((.*)\)", expected)[1].split(", "))  # type: ignore[index]
    assert ran.err.endswith(" and 1 folders (--recursive searches them, too)\n")
    assert ran.err.count("\n") == 1
    ran = transcribe(capsys, str(talks), "--recursive")
    assert (ran.out, "folders" in ran.err) == (f"{HELLO}\n" * 2, False)
    assert transcribe(capsys, str(talks), "-q").err == ""


def test_an_empty_folder_costs_the_others_nothing(
    capsys: pytest.CaptureFixture[str], hello: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    ran = transcribe(capsys, str(tmp_path / "empty"), hello)
    assert (ran.status, ran.out) == (1, f"{HELLO}\n")
    assert "holds no audio file" in ran.err
    assert "1 of 2 files failed" in ran.err
    ran = transcribe(capsys, str(tmp_path / "empty"))
    assert (ran.status, ran.out) == (1, "")


@pytest.mark.parametrize(
    "suffix", ["wv", "3gp", "m4r", "avi", "WAVE", "spx", "mpeg", "weba", "sph", "ac3", "voc", "m4v"]
)
def test_folders_take_every_format_that_a_file_may_have(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"talk.{suffix}").touch()
    (tmp_path / f"._talk.{suffix}").touch()
    assert [Path(entry.file).name for entry in expand([str(tmp_path)], recursive=False)] == [f"talk.{suffix}"]
    assert [path.name for path in find_audio([tmp_path])] == [f"talk.{suffix}"]
