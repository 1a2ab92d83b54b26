"""`tdt inspect`: show what a model folder or a sound file holds, and check it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdt.commands.options import add

if TYPE_CHECKING:
    import argparse

    from tdt.model import FoundModel


EPILOG = """\
examples:
  tdt inspect parakeet-tdt-0.6b-v3    layout, numbers and checks of a model
  tdt inspect film.mkv                format and audio tracks of a file, for `tdt transcribe --track`

Exit status: 0 fine, 1 the model or the file cannot be used or a check failed, 2 wrong usage.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the options from the table."""
    add(parser, "inspected", "precision", "durations", "provider", "placement", "json",
        inspected={"nargs": "?"})  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Print the description and return the exit status."""
    text, values, fine = _sound(Path(args.model)) if _is_sound(args.model) else _model(args)
    sys.stdout.write(json.dumps(values, ensure_ascii=False) + "\n" if args.json else text)
    return 0 if fine else 1


def _is_sound(name: str | None) -> bool:
    """Say whether a name is a file's; models are folders."""
    return name is not None and Path(name).is_file() and not name.endswith(".onnx")


def _sound(path: Path) -> tuple[str, dict[str, Any], bool]:
    from tdt.audio import contents

    found = contents(path)
    return found.render(), found.to_dict(), not found.problem


def _model(args: argparse.Namespace) -> tuple[str, dict[str, Any], bool]:
    from tdt.model import inspect_model

    found = inspect_model(args.model, precision=args.precision, durations=args.durations)
    return _placement(found, args.provider) if args.placement else _description(found)


def _description(found: FoundModel) -> tuple[str, dict[str, Any], bool]:
    from tdt.model import describe, render

    description = describe(found)
    return render(description), description.to_dict(), description.ok


def _placement(found: FoundModel, provider: str) -> tuple[str, dict[str, Any], bool]:
    from tdt.runtime import Backend, place_graphs, render

    backend = Backend.parse(provider)
    placed = place_graphs(found, backend)
    values = {"model": found.spec.name, "provider": str(backend), "placement": [asdict(graph) for graph in placed]}
    return render(placed), values, not any(graph.computing_on_cpu for graph in placed)
