"""`tdt inspect`: show what a model folder holds and check it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tdt.commands.options import add

if TYPE_CHECKING:
    import argparse

    from tdt.model import FoundModel


EPILOG = "Exit status: 0 fine, 1 the model cannot be used or a check failed, 2 wrong usage.\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the options from the table."""
    add(parser, "model_argument", "precision", "durations", "provider", "placement", "json",
        model_argument={"nargs": "?"})  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Print the description and return the exit status."""
    from tdt.model import inspect_model

    found = inspect_model(args.model, precision=args.precision, durations=args.durations)
    text, values, fine = _placement(found, args.provider) if args.placement else _description(found)
    sys.stdout.write(json.dumps(values, ensure_ascii=False) + "\n" if args.json else text)
    return 0 if fine else 1


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
