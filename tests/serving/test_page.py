"""What the page says of the server is what the server has: routes, fields, refusals, settings, options."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from tdt.commands import command_parser
from tdt.serving import Settings
from tdt.serving.app import routes
from tdt.serving.asking import FIELDS
from tdt.serving.refusing import STATUSES, TABLE

from .scripted import ScriptedEngine

PAGE = (Path(__file__).resolve().parents[2] / "tools" / "readme" / "serving.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in PAGE.splitlines() if line.startswith("| ")]


def cells(column: int) -> set[str]:
    return {word for row in ROWS if len(row) > column for word in re.findall(r"`([^`]+)`", row[column])}


def test_every_route_is_described() -> None:
    engine = ScriptedEngine()
    found = {
        f"{method} {route.path}"  # type: ignore[attr-defined]
        for route in routes(engine, engine.settings)  # type: ignore[arg-type]
        for method in getattr(route, "methods", None) or ()
        if method != "HEAD"
    }
    assert found == {cell for cell in cells(0) if cell.startswith(("GET ", "POST "))}


def test_every_field_is_described_with_its_effect() -> None:
    described = {row[0].strip("`"): row[1] for row in ROWS if row[0].strip("`") in FIELDS and len(row) == 3}
    assert described == {name: field.effect for name, field in FIELDS.items()}


def test_every_refusal_is_described_with_its_status() -> None:
    described = {
        (int(row[0]), code) for row in ROWS if row[0].isdecimal() for code in re.findall(r"`([a-z_]+)`", row[1])
    }
    assert described == {(row.status, row.code) for row in [*TABLE.values(), *STATUSES.values()]}


def test_every_setting_and_option_is_described() -> None:
    assert {field.name for field in fields(Settings)} <= set(re.findall(r"`([a-z_]+)`", PAGE))
    options = {
        option
        for action in command_parser("serve")._actions
        for option in action.option_strings
        if getattr(action.container, "title", "") == "serving"
    }
    assert options
    assert options <= cells(0) | set(re.findall(r"`(--[a-z-]+)`", PAGE))
