"""Options anywhere between the files, and what `--` is for, in every subcommand that takes several files."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import pytest

from tdt.commands import COMMANDS, command_parser, main
from tdt.commands.options import add
from tdt.commands.parsing import Parser

if TYPE_CHECKING:
    import argparse


def values(name: str, *words: str) -> argparse.Namespace:
    return command_parser(name).read(words)


@pytest.mark.parametrize(
    ("words", "files", "options"),
    [
        (["a.wav", "--format", "json", "b.wav"], ["a.wav", "b.wav"], {"format": "json"}),
        (["--format=json", "a.wav", "-q", "b.wav", "-o", "out", "c.wav"], ["a.wav", "b.wav", "c.wav"],
         {"format": "json", "quiet": True, "output": "out"}),
        (["a.wav", "-oout", "b.wav"], ["a.wav", "b.wav"], {"output": "out"}),
        (["a.wav", "-qoout", "-"], ["a.wav", "-"], {"output": "out", "quiet": True}),
        (["-", "--form", "srt", "a.wav"], ["-", "a.wav"], {"format": "srt"}),
        (["a.wav", "--threads", "2", "--", "-b.wav", "--format", "-"], ["a.wav", "-b.wav", "--format", "-"],
         {"threads": 2, "format": "txt"}),
        (["--", "a.wav"], ["a.wav"], {}),
        (["a.wav", "--"], ["a.wav"], {}),
        (["a.wav", "--model", "-", "b.wav"], ["a.wav", "b.wav"], {"model": "-"}),
    ],
)  # fmt: skip
def test_options_between_the_files(words: list[str], files: list[str], options: dict[str, object]) -> None:
    found = values("transcribe", *words)
    assert found.files == files
    assert {name: getattr(found, name) for name in options} == options


def test_other_subcommands_take_them_too() -> None:
    assert values("profile", "a.wav", "--runs", "2", "b.wav").files == ["a.wav", "b.wav"]
    assert values("bench", "a.wav", "--batch", "1,2", "b.wav", "--provider", "cpu").files == ["a.wav", "b.wav"]
    assert values("bench", "--format", "csv").files == []
    assert values("compare", "a", "--runs", "1", "b", "--audio", "x", "y").variants == ["a", "b"]
    assert values("compare", "--audio", "x", "y", "--runs", "1", "a", "b").audio == ["x", "y"]
    assert values("quantize", "--audio", "x", "-o", "out", "model").model == "model"
    assert values("build-engine", "-o", "out", "model", "--json").model == "model"
    assert values("inspect", "--json", "model").model == "model"
    assert values("inspect", "--json").model is None
    assert values("doctor", "--json").json
    assert values("doctor", "--json", "--").json


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: FILE"),
        (["-q"], "the following arguments are required: FILE"),
        (["a.wav", "--nonsense", "5"], "unrecognized arguments: --nonsense; a file of such a name goes behind --"),
        (["a.wav", "-x", "b.wav"], "unrecognized arguments: -x;"),
        (["a.wav", "--format", "doc"], "argument --format: invalid choice: 'doc'"),
        (["a.wav", "-o"], "argument -o/--output: expected one argument"),
        (["a.wav", ""], "argument FILE: '' cannot be used: expected the name of a file or folder"),
        ([""], "argument FILE: '' cannot be used: expected the name of a file or folder"),
        (["--", "", "b.wav"], "argument FILE: '' cannot be used: expected the name of a file or folder"),
    ],
)
def test_wrong_usage_is_a_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["transcribe", *words])
    captured = capsys.readouterr()
    assert (stop.value.code, captured.out) == (2, "")
    assert captured.err.startswith(f"tdt transcribe: {message}")
    assert captured.err.endswith(" (see tdt transcribe --help)\n")
    assert captured.err.count("\n") == 1


def test_too_many_models_and_missing_options_are_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        (["inspect", "a", "b"], "unrecognized arguments: b"),
        (["doctor", "a"], "unrecognized arguments: a"),
        (["doctor", "--json", "--", "a"], "unrecognized arguments: a"),
        (["quantize", "a", "--audio", "x", "-o", "y", "b"], "unrecognized arguments: b"),
        (["compare", "a", "b"], "required: --audio"),
        (["build-engine", "a"], "required: -o/--output"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["a.wav", "--help"], ["--quiet", "-h", "--nonsense"]])
def test_help_shows_all_arguments_wherever_it_is_asked_for(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module(COMMANDS["transcribe"][0]), "run", lambda args: pytest.fail("ran"))
    with pytest.raises(SystemExit) as stop:
        main(["transcribe", *words])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert "FILE [FILE ...]" in shown
    assert "[-q]" in shown
    assert shown == command_parser("transcribe").format_help()


def test_a_value_of_two_dashes_is_a_value() -> None:
    parser = Parser("test", "A test.")
    add(parser, "inputs", "folder", "model", "exclude")
    assert vars(parser.read(["x", "--model=--", "-o--", "--exclude=--"])) == {
        "files": ["x"], "model": "--", "output": "--", "exclude": ["--"],
    }  # fmt: skip
