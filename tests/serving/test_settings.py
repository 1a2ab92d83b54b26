"""Settings: bounds, and that each has an option of the command."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import pytest

from tdt.commands import command_parser
from tdt.commands.serve import keys_of, settings_of
from tdt.errors import OptionError
from tdt.serving import Settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 65_536), ("port", -1), ("port", "8000"), ("max_batch", 0), ("collect_ms", float("nan")),
        ("queue", 0), ("max_mb", 0), ("max_seconds", 0.5), ("timeout", 0), ("readers", 1.5), ("wyoming", 70_000),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused(name: str, value: object) -> None:
    with pytest.raises(OptionError, match=name):
        Settings(**{name: value})  # type: ignore[arg-type]


def test_empty_keys_are_none() -> None:
    with pytest.raises(OptionError, match="api_keys"):
        Settings(api_keys=("good", " "))


def test_the_commands_defaults_are_those_of_the_settings() -> None:
    assert settings_of(command_parser("serve").read([])) == Settings()


def test_every_setting_has_an_option(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("# ours\n\n  one \ntwo\n")
    words = (
        "--provider auto --host ::1 --port 1 --max-batch 2 --collect-ms 3 --queue 4 --max-mb 5 --max-seconds 6"
        " --timeout 7 --upload-seconds 8 --readers 9"
    )
    made = settings_of(command_parser("serve").read([*words.split(), "--api-key-file", str(tmp_path / "keys")]))
    assert made == Settings(
        provider="auto", host="::1", port=1, max_batch=2, collect_ms=3, queue=4, max_mb=5, max_seconds=6, timeout=7,
        upload_seconds=8, readers=9, api_keys=("one", "two"),
    )  # fmt: skip
    usual = Settings()
    set_here = {field.name for field in fields(made) if getattr(made, field.name) != getattr(usual, field.name)}
    assert {field.name for field in fields(made)} - set_here == {"model", "wyoming"}


@pytest.mark.parametrize("text", ["", "# nothing\n", None])
def test_a_file_without_keys_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "keys").write_text(text)
    with pytest.raises(OptionError, match="--api-key-file"):
        keys_of(tmp_path / "keys")
