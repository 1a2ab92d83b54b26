"""Absurd values of options are refused before any work: status 2, one line that says what was given and expected."""

from __future__ import annotations

import argparse
import importlib
from argparse import ArgumentTypeError
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdt.commands import COMMANDS, command_parser, main
from tdt.commands.options import OPTIONS
from tdt.commands.values import Listed, Number, Size, Whole, Words, path, picture, provider, refuse, targets

NUMERIC = (Whole, Number, Size, Listed)

# What a numeric option of any kind must refuse; `-` alone and digits of other scripts among them.
ABSURD = [
    "", " ", "-", "+", ".", "e5", "1e", "inf", "-inf", "Infinity", "nan", "NaN", "-nan", "1e999", "-1e999", "0x10",
    "0b1", "0o7", "1_000", "--", "True", "None", "null", "[1]", "(1,)", "1;2", "1 2", "1\n", " 1", "1 ", "½", "²", "٣",
    "１", "Ⅷ", "1٫5", "1,5,", ",1", "1,,5", "9" * 30, "9" * 5000, "-" + "9" * 5000, "1e308", "1" + "0" * 400, "-1",
    "-0.5", "-1e9", "1.5.5", "1e5.5", "0x1p3", "1j", "$5", "5s", "5 s", "99999999999999999999", "five", "1/2", "%d",
    "\udcff",
]  # fmt: skip

# Whole numbers besides take no fractions, and nothing but zero is below one where a count is meant.
NO_WHOLE = ["1.5", "1e3", "1.0", "0.1"]
REQUIRED = {"quantize": ["model", "--audio", "a.wav"], "compare": ["a", "b", "--audio", "a.wav"],
            "lm": ["build", "a.txt", "-o", "b"], "convert": ["a.nemo", "-o", "b"],
            "build-engine": ["model", "-o", "out"], "transcribe": ["a.wav"], "profile": ["a.wav"],
            "triton": ["models"], "corpus": ["a.jsonl", "-o", "b"]}  # fmt: skip


def numeric_options() -> list[tuple[str, argparse.Action]]:
    found = []
    for name in COMMANDS:
        for action in command_parser(name)._actions:
            kind = action.type.otherwise if isinstance(action.type, Words) else action.type
            if isinstance(kind, NUMERIC) and not (isinstance(kind, Listed) and isinstance(kind.item, Words)):
                found.append((name, action))
    return found


def absurd_for(kind: Any) -> list[str]:
    whole = isinstance(kind, Whole) or (isinstance(kind, Listed) and isinstance(kind.item, Whole))
    listed = [f"2,{word}" for word in ("inf", "nan", "-1", "x", "", "1e999", "٣")] if isinstance(kind, Listed) else []
    spaced = {" 1", "1 "} if isinstance(kind, Listed) else set()  # blanks around commas are no offence
    below_zero = {"-1", "-0.5"} if may_be_negative(kind) else set()
    return [word for word in (*ABSURD, *(NO_WHOLE if whole else []), *listed) if word not in spaced | below_zero]


def may_be_negative(kind: Any) -> bool:
    """Weights may: what they count for is avoided."""
    return isinstance(kind, Number) and kind.least < 0


OPTIONS_BY_ID = {f"{name}{action.option_strings[-1]}": (name, action) for name, action in numeric_options()}


def test_every_option_that_takes_a_number_is_walked() -> None:
    """No option reads numbers by itself: each value goes through a reader of the table, or is words."""
    assert len(OPTIONS_BY_ID) >= 25
    for option in OPTIONS.values():
        assert option.settings.get("type") not in (int, float)
    expected = {"transcribe--threads", "transcribe--max-memory", "compare--lengths", "compare--runs", "bench--soak",
                "quantize--smoothquant", "build-engine--max-batch", "inspect--durations", "lm--prune"}  # fmt: skip
    assert expected <= set(OPTIONS_BY_ID)


@pytest.mark.parametrize("option", OPTIONS_BY_ID)
def test_absurd_values_are_refused_in_a_line_before_any_work(
    option: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, action = OPTIONS_BY_ID[option]
    module = importlib.import_module(COMMANDS[name][0])
    monkeypatch.setattr(module, "run", lambda args: pytest.fail(f"started with {args}"))
    flag = action.option_strings[-1]
    for value in absurd_for(action.type):
        with pytest.raises(SystemExit) as stop:
            main([name, *REQUIRED.get(name, []), f"{flag}={value}"])
        captured = capsys.readouterr()
        assert (stop.value.code, captured.out) == (2, ""), value
        assert captured.err.count("\n") == 1, value
        assert len(captured.err) < 400, value
        assert repr(value)[:40].rstrip("'") in captured.err
        assert "cannot be used: expected " in captured.err
        assert f"{flag}: " in captured.err


@pytest.mark.parametrize("option", OPTIONS_BY_ID)
def test_a_value_apart_from_its_option_is_refused_too(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    name, action = OPTIONS_BY_ID[option]
    for value in ("-5000" if may_be_negative(action.type) else "-1", "", "inf", "0x10"):
        with pytest.raises(SystemExit) as stop:
            main([name, *REQUIRED.get(name, []), action.option_strings[-1], value])
        assert stop.value.code == 2
        assert repr(value) in capsys.readouterr().err


@pytest.mark.parametrize("option", OPTIONS_BY_ID)
def test_usable_values_reach_the_command(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bounds themselves are taken: the refusals above are not those of a parser that takes nothing."""
    name, action = OPTIONS_BY_ID[option]
    kind = action.type
    item = kind.item if isinstance(kind, Listed) else kind
    good = {
        "smoothquant": ["search", "off", "0.5"],
        "max_memory": ["1M", "2.5g", "16T", "1048576"],
        "end_of_speech": ["off", "0.2", "3600"],
        "restart": ["off", "0.2", "3600"],
    }
    values = good.get(action.dest) or [f"{item.least + item.above:g}" if isinstance(item, Number) else str(item.least),
                                       f"{item.most:g}" if isinstance(item, Number) else str(item.most)]  # fmt: skip
    seen: list[Any] = []
    monkeypatch.setattr(importlib.import_module(COMMANDS[name][0]), "run", lambda args: seen.append(args) or 0)
    for value in values:
        assert main([name, *REQUIRED.get(name, []), f"{action.option_strings[-1]}={value}"]) == 0
        assert getattr(seen[-1], action.dest) is not None
    assert len(seen) == len(values)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("transcribe", ["--provider="]), ("transcribe", ["--provider=cuda:" + "9" * 5000]),
        ("transcribe", ["--provider=cuda:٣"]), ("profile", ["--provider=cuda:-1"]),
        ("quantize", ["--provider=tensorrt:0,max_batch=1e9"]), ("quantize", ["--provider=tensorrt,memory=inf"]),
        ("build-engine", ["--provider=tensorrt:0,max_seconds=nan"]), ("build-engine", ["--target="]),
        ("build-engine", ["--target=sm_99999999999"]), ("bench", ["--provider", "cpu", "--provider", "cpu:0"]),
        ("doctor", ["--provider=tensorrt:0,level=6"]), ("inspect", ["--provider=tensorrt,max_batch=٣"]),
        ("bench", ["--precision=float32,"]), ("bench", ["--precision="]), ("transcribe", ["--model="]),
        ("transcribe", ["-o", ""]), ("transcribe", [""]), ("profile", ["--picture=x.bmp"]), ("compare", ["--plot="]),
        ("quantize", ["--plot=x"]), ("bench", ["--baseline="]), ("compare", ["--references="]),
        ("compare", ["a@tpu", "b"]), ("compare", ["a", "b@cuda:-1"]), ("compare", ["a#int5", "b"]),
        ("compare", ["", "b"]),
    ],
)  # fmt: skip
def test_words_that_cannot_be_meant_are_refused_too(
    name: str, words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module(COMMANDS[name][0]), "run", lambda args: pytest.fail("started"))
    before = [] if words[0][:1] != "-" and name == "compare" else REQUIRED.get(name, [])
    with pytest.raises(SystemExit) as stop:
        main([name, *before, *words, *(["--audio", "x"] if name == "compare" else [])])
    captured = capsys.readouterr()
    assert (stop.value.code, captured.out, captured.err.count("\n")) == (2, "", 1)
    assert "cannot be used: expected " in captured.err
    assert len(captured.err) < 400


READERS = [Whole(1, 1024), Whole(0, 10), Number(0.1, 3600, "seconds"), Number(0, 1, above=True), Size(),
           Listed(Whole(1, 64)), Listed(Number(0.1, 10), "as-is"), Words(("a", "b"), Number(0.1, 0.9)), path, picture,
           provider, targets]  # fmt: skip


@given(st.text() | st.from_regex(r"[+-]?[0-9.eE_xX,KMGTinfa٣]{0,60}", fullmatch=True), st.sampled_from(READERS))
def test_any_text_is_read_or_refused(text: str, read: Any) -> None:
    try:
        value = read(text)
    except ArgumentTypeError as error:
        if "cannot be used: expected " not in str(error):
            raise
        return
    numbers = value if isinstance(value, tuple) else (value,)
    for number in numbers:
        if isinstance(number, (int, float)):
            limits = read.item if isinstance(read, Listed) else read
            assert limits.least <= number <= limits.most


@given(st.integers(1, 1024))
def test_what_is_written_is_what_is_read(number: int) -> None:
    assert Whole(1, 1024)(str(number)) == number
    assert Number(0.1, 3600)(str(number / 7)) == number / 7 or number / 7 < 0.1
    assert Size()(f"{number}M") == number << 20
    assert Listed(Whole(1, 1024))(f"{number}, 7") == (number, 7)


def test_a_long_value_is_shown_in_part() -> None:
    assert len(str(refuse("9" * 5000, "less"))) < 100
