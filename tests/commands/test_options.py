"""One table of options: what has one meaning has one wording, one type and one name in every subcommand."""

from __future__ import annotations

import argparse
import ast
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

import tdt
from tdt.commands import COMMANDS, command_parser, main
from tdt.commands.options import OPTIONS, Option, add

COMMAND_FILES = sorted((Path(tdt.__file__).parent).rglob("*.py"))

# Flags that mean another thing elsewhere; each entry of the table says what.
OTHER_MEANINGS = {
    "--json": {"json", "json_file"},
    "--max-batch": {"max_batch", "shared_batch"},
    "--max-seconds": {"max_seconds", "calibration_seconds", "engine_seconds", "longest"},
    "--model": {"model", "models"},
    "--output": {"folder", "report", "model_folder", "arpa", "run_folder"},
    "--plot": {"plot", "plots"},
    "--precision": {"precision", "precisions", "numbers"},
    "--references": {"references", "reference_key"},
    "--provider": {"provider", "provider_or_auto", "providers", "card"},
    "files": {"inputs", "files", "lm_files"},
    "model": {"model_argument", "inspected"},
}


def actions() -> list[tuple[str, argparse.Action]]:
    return [(name, action) for name in COMMANDS for action in command_parser(name)._actions if action.dest != "help"]


def wording(text: str | None) -> str:
    """Return the help without the default, which is a subcommand's own."""
    return re.sub(r" \(default: .*\)$", "", text or "")


def test_no_option_is_declared_outside_the_table() -> None:
    declared = {}
    for path in COMMAND_FILES:
        calls = [
            node
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument"
        ]
        words = {getattr(call.args[0], "value", "*") for call in calls if call.args}
        if words:
            declared[path.relative_to(Path(tdt.__file__).parent).as_posix()] = words
    assert set(declared) == {"commands/__init__.py", "commands/options.py"}
    assert declared["commands/__init__.py"] == {"--version"}


def test_a_flag_is_in_the_table_once_for_each_meaning() -> None:
    names = defaultdict(set)
    for name, option in OPTIONS.items():
        names[option.flags[-1]].add(name)
    assert {flag: found for flag, found in names.items() if len(found) > 1} == OTHER_MEANINGS


def test_a_flag_has_the_same_type_and_wording_everywhere() -> None:
    def shape(action: argparse.Action, help_text: str) -> tuple[Any, ...]:
        return (tuple(action.option_strings) or action.dest, action.type, type(action), action.metavar, help_text)

    known = set()
    for option in OPTIONS.values():
        plain = argparse.ArgumentParser(add_help=False)
        plain.add_argument(*option.flags, **option.settings)
        known.add(shape(plain._actions[0], option.help))
    for command, action in actions():
        assert shape(action, wording(action.help)) in known, f"{command} {action.option_strings or action.dest}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained_below_a_heading(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    for action in command_parser(name)._actions:
        assert action.help
        for flag in action.option_strings:
            assert flag in shown
    titles = re.findall(r"^(\w[\w ]*):$", shown, re.MULTILINE)
    assert len(titles) == len(set(titles)), "a heading stands twice"
    assert "\nExit status: 0 " in shown
    assert "None" not in shown
    assert "%(" not in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_closed_says_its_choices(name: str) -> None:
    for action in command_parser(name)._actions:
        if action.dest in {"format", "decoder", "weights", "method", "body", "normalizer", "estimator"}:
            assert action.choices
            assert action.default in action.choices


def test_every_entry_is_used() -> None:
    used = {(tuple(action.option_strings) or (action.dest,), wording(action.help)) for _, action in actions()}
    assert {(option.flags, option.help) for option in OPTIONS.values()} == used


def test_a_subcommand_says_its_own_default() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    add(parser, "runs", "quiet", runs={"default": 7, "shown": "7 times"})
    assert vars(parser.parse_args([])) == {"runs": 7, "quiet": False}
    assert "(default: 7 times)" in parser.format_help()
    with pytest.raises(TypeError):
        add(parser, "jobs", jobs={"colour": "red"})


def test_the_default_is_part_of_the_help_where_there_is_one() -> None:
    assert Option(("-x",), "g", "what it does", default=3).text == "what it does (default: 3)"
    assert Option(("-x",), "g", "what it does", shown="all").text == "what it does (default: all)"
    assert Option(("-x",), "g", "what it does").text == "what it does"


def test_help_of_the_whole_lists_the_subcommands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    for name, (_, summary) in COMMANDS.items():
        assert re.search(rf"^ +{name}\s+{re.escape(summary[:20])}", shown, re.MULTILINE)


@pytest.mark.parametrize("words", [[], ["help"], ["nonsense"], ["--nonsense"], ["--", "transcribe"], ["--", "doctor"]])
def test_without_a_subcommand_it_is_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "COMMAND" in captured.err
