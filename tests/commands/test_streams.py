"""Closed descriptors, closed pipes, full disks and narrow locales in every subcommand: a status, never a traceback."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tdt
from tdt.commands import COMMANDS, main

RECORDINGS = Path(tdt.__file__).parent / "models/recordings"
CLIP, OTHER = str(RECORDINGS / "15_hello_world.flac"), str(RECORDINGS / "06_digits_theo.flac")
TEXT = "Hello world. Testing one, two, three.\n"
WORDS = {"transcribe": [CLIP], "profile": [CLIP], "compare": ["a", "b", "--audio", CLIP],
         "quantize": ["a", "--audio", CLIP, "-o", "x"], "build-engine": ["a", "-o", "x"],
         "lm": ["inspect", "a"], "convert": ["a", "-o", "x"], "triton": ["a"],
         "corpus": ["a", "-o", "x"]}  # fmt: skip

UNBUFFERED = "PYTHONUNBUFFERED"  # as -u; whoever runs the tests may have it set

# The subcommand's work replaced by printing more than any buffer holds, by one line, or by an error.
STAND_IN = """
import importlib, sys
from tdt.commands import COMMANDS, main
from tdt.errors import ModelError
module = importlib.import_module(COMMANDS[sys.argv[1]][0])
def run(args):
    if {kind!r} == "error":
        raise ModelError("no such thing")
    if {kind!r} == "warnings":
        for _ in range(100000):
            sys.stderr.write("warning\\n")
        return 0
    for _ in range({lines}):
        sys.stdout.write("\\xb5 \\xd7 result\\n")
    return 0
module.run = run
sys.exit(main())
"""


def run(*words: str, close: tuple[int, ...] = (), **settings: Any) -> subprocess.CompletedProcess[bytes]:
    """Run a command with descriptors closed, as `>&-` and `2>&-` do."""

    def before() -> None:
        for number in close:
            os.close(number)

    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL} | settings
    environment = {name: value for name, value in (pipes.pop("env", None) or os.environ).items() if name != UNBUFFERED}
    command = [sys.executable, *words]
    return subprocess.run(command, check=False, preexec_fn=before, timeout=240, env=environment, **pipes)


def gone() -> int:
    """Return the writing end of a pipe whose reader is gone."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def check_quiet(error: bytes) -> None:
    for word in (b"Traceback", b"Exception ignored", b"Error:"):
        assert word not in error, error.decode()


def stand_in(kind: str, lines: int = 0) -> list[str]:
    return ["-c", STAND_IN.format(kind=kind, lines=lines)]


@pytest.mark.parametrize(("name", "lines"), [*((name, 1) for name in COMMANDS), ("inspect", 100_000)])
def test_output_that_cannot_be_written_is_one_message_and_status_1(name: str, lines: int) -> None:
    words = [*stand_in("output", lines), name, *WORDS.get(name, [])]
    with Path("/dev/full").open("wb") as full:
        ran = run(*words, stdout=full)
    expected = f"tdt {name}: standard output cannot be written: No space left on device."
    assert (ran.returncode, ran.stderr.decode().count("\n")) == (1, 1)
    assert ran.stderr.decode().startswith(expected)
    ran = run(*words, close=(1,))
    assert (ran.returncode, ran.stderr.decode().count("\n")) == (1, 1)
    assert ran.stderr.decode().startswith(f"tdt {name}: standard output cannot be written: it is closed.")


@pytest.mark.parametrize(("name", "lines"), [*((name, 1) for name in COMMANDS), ("inspect", 100_000)])
def test_a_reader_that_goes_ends_it_quietly_with_status_141(name: str, lines: int) -> None:
    ran = run(*stand_in("output", lines), name, *WORDS.get(name, []), stdout=gone())
    assert (ran.returncode, ran.stderr) == (141, b"")


@pytest.mark.parametrize("name", COMMANDS)
def test_messages_that_cannot_be_written_are_lost_and_the_work_goes_on(name: str) -> None:
    words = [name, *WORDS.get(name, [])]
    with Path("/dev/full").open("wb") as full:
        assert run(*stand_in("warnings"), *words, stderr=full).returncode == 0
    assert run(*stand_in("error"), *words, close=(2,)).returncode == 1
    assert run(*stand_in("warnings"), *words, stderr=gone()).returncode == 141


@pytest.mark.parametrize("words", [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)])
@pytest.mark.parametrize("unbuffered", [[], ["-u"]])
def test_help_that_cannot_be_written(words: list[str], unbuffered: list[str]) -> None:
    command = [*unbuffered, "-m", "tdt", *words]
    with Path("/dev/full").open("wb") as full:
        ran = run(*command, stdout=full)
        assert (ran.returncode, ran.stderr.count(b"\n")) == (1, 1)
        assert b"No space left on device" in ran.stderr
    ran = run(*command, close=(1,))
    assert (ran.returncode, ran.stderr.count(b"\n")) == (1, 1)
    ran = run(*command, stdout=gone())
    assert (ran.returncode, ran.stderr) == (141, b"")


@pytest.mark.parametrize("name", COMMANDS)
def test_all_descriptors_closed(name: str) -> None:
    """None of the files that are opened then may take the place of a stream."""
    assert run("-m", "tdt", name, "--nonsense", close=(0, 1, 2)).returncode == 2
    assert run(*stand_in("output", 1), name, *WORDS.get(name, []), close=(0, 1, 2)).returncode == 1


REAL = {
    "transcribe": [CLIP, OTHER, "--batch-size", "1"],
    "transcribe, as it runs": [CLIP, "--chunk-seconds", "2"],
    "inspect": [],
    "doctor": ["--provider", "cpu"],
    "profile": [CLIP, "--runs", "1"],
    "bench": [CLIP, "--length", "as-is", "--precision", "float32", "--min-runs", "1", "--max-seconds", "0.01"],
    "compare": ["parakeet-tdt-tiny", "parakeet-tdt-tiny#float32", "--audio", CLIP, "--lengths", "1", "--runs", "1"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_real_work_whose_output_is_lost(name: str) -> None:
    command = ["-m", "tdt", name.partition(",")[0], *REAL[name]]
    with Path("/dev/full").open("wb") as full:
        ran = run(*command, stdout=full)
    assert ran.returncode == 1
    assert ran.stderr.decode().count("standard output cannot be written: No space left on device.") == 1
    check_quiet(ran.stderr)
    ran = run(*command, stdout=gone())
    assert ran.returncode == 141
    check_quiet(ran.stderr)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["profile", *REAL["profile"], "-o", "/dev/full"],
        ["profile", *REAL["profile"], "--format", "html", "-o", "/dev/full"],
        ["bench", *REAL["bench"], "--format", "json", "-o", "/dev/full"],
        ["compare", *REAL["compare"], "--json", "/dev/full"],
        ["compare", *REAL["compare"], "--markdown", "/dev/full"],
    ],
)
def test_a_report_on_a_full_disk(words: list[str]) -> None:
    ran = run("-m", "tdt", *words)
    assert ran.returncode == 1
    assert b"/dev/full cannot be written: No space left on device." in ran.stderr
    check_quiet(ran.stderr)


def test_a_line_goes_out_at_once_where_that_is_asked_for() -> None:
    code = "import sys; from tdt.commands.streams import prepare; prepare()\nsys.stdout.write('µ\\n'); sys.stdin.read()"
    command = [sys.executable, "-u", "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "µ\n".encode()
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(60) == 0


def test_closed_descriptors_are_open_in_processes_that_are_started() -> None:
    code = (
        "import os, subprocess, sys; from tdt.commands.streams import prepare; prepare()\n"
        "theirs = 'import os; os.fstat(0); os.fstat(1); os.fstat(2)'\n"
        "sys.exit(subprocess.run([sys.executable, '-c', theirs], check=False).returncode)"
    )
    assert run("-c", code, close=(0, 1, 2)).returncode == 0


def test_closed_standard_input_is_an_error_of_that_input(tmp_path: Path) -> None:
    ran = run("-m", "tdt", "transcribe", "-", CLIP, "-o", str(tmp_path), close=(0,))
    assert ran.returncode == 1
    assert b"Standard input is closed" in ran.stderr
    check_quiet(ran.stderr)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("15_hello_world.txt", TEXT)]


def test_files_need_no_standard_output(tmp_path: Path) -> None:
    ran = run("-m", "tdt", "transcribe", CLIP, "-o", str(tmp_path), close=(0, 1, 2))
    assert ran.returncode == 0
    assert (tmp_path / "15_hello_world.txt").read_text() == TEXT


def test_an_output_file_that_cannot_grow_costs_its_own_input_only(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: a text fits, the journal of the longer clip does not."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))

    words = ["-m", "tdt", "transcribe", OTHER, CLIP, "--chunk-seconds", "4.1", "-o", str(tmp_path)]
    command = [sys.executable, *words]
    ran = subprocess.run(command, check=False, preexec_fn=limited, capture_output=True, timeout=240)
    assert ran.returncode == 1
    check_quiet(ran.stderr)
    assert ran.stderr.count(b"06_digits_theo.flac: [Errno 27] File too large") == 1
    assert b"1 done, 1 failed" in ran.stderr
    assert (tmp_path / "15_hello_world.txt").read_text() == TEXT


NARROW = [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]


@pytest.mark.parametrize("narrow", NARROW)
@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_printed_is_utf8_in_any_locale(name: str, narrow: dict[str, str]) -> None:
    ran = run(*stand_in("output", 1), name, *WORDS.get(name, []), env={**os.environ, **narrow})
    assert (ran.returncode, ran.stdout.decode("utf-8"), ran.stderr) == (0, "µ × result\n", b"")
    ran = run("-m", "tdt", name, "--help", env={**os.environ, **narrow})
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert "Exit status" in ran.stdout.decode("utf-8")


@pytest.mark.parametrize("narrow", NARROW)
def test_messages_are_escaped_where_the_locale_cannot_say_them(narrow: dict[str, str]) -> None:
    ran = run("-m", "tdt", "transcribe", "grün.wav", env={**os.environ, **narrow})
    assert ran.returncode == 1
    assert b"gr" in ran.stderr
    assert b"does not exist" in ran.stderr
    check_quiet(ran.stderr)


# --- names that are no UTF-8 ------------------------------------------------------------------------------------------


@pytest.fixture
def latin(tmp_path: Path) -> bytes:
    """A recording whose name is Latin-1."""
    path = os.fsencode(tmp_path) + b"/caf\xe9.flac"
    Path(os.fsdecode(path)).write_bytes(Path(CLIP).read_bytes())
    return path


def test_a_name_that_is_no_utf8(latin: bytes, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tdt", "transcribe", latin, latin[:-6], "--format", "json"]
    ran = subprocess.run(command, check=False, capture_output=True, timeout=240)
    assert ran.returncode == 1
    check_quiet(ran.stderr)
    assert b"does not exist" in ran.stderr
    shown = json.loads(ran.stdout.decode("utf-8"))["file"]
    assert shown == f"{tmp_path}/caf\\xe9.flac"
    ran = subprocess.run([*command, "-o", str(tmp_path / "out")], check=False, capture_output=True, timeout=240)
    assert [os.fsencode(path.name) for path in (tmp_path / "out").iterdir()] == [b"caf\xe9.json"]


@pytest.mark.slow
def test_reports_on_a_name_that_is_no_utf8(latin: bytes, tmp_path: Path) -> None:
    out, tables = tmp_path / "report", tmp_path / "tables"
    file, profile = os.fsdecode(latin), ["profile", os.fsdecode(latin), "--runs", "1"]
    ran = run("-m", "tdt", *profile)
    assert ran.returncode == 0, ran.stderr
    assert "caf" in ran.stdout.decode("utf-8")
    for form in ("json", "html", "markdown"):
        assert main([*profile, "--format", form, "-o", str(out)]) == 0
        assert out.read_text(encoding="utf-8")
    models = ["parakeet-tdt-tiny", "parakeet-tdt-tiny#float32"]
    settings = ["--audio", file, "--lengths", "1", "--runs", "1", "--json", str(out), "--markdown", str(tables)]
    assert main(["compare", *models, *settings]) == 0
    assert json.loads(out.read_text(encoding="utf-8"))["clips"] == 1
    assert tables.read_text(encoding="utf-8")
