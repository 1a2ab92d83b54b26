"""`tdt inspect`: show what a model folder holds and check it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tdt.errors import OptionError, TdtError

if TYPE_CHECKING:
    import argparse

    from tdt.model import FoundModel


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "model", nargs="?", metavar="MODEL", help="folder or name of a model (default: the bundled one)"
    )
    parser.add_argument(
        "--precision", choices=["float32", "int8"], help="which files to look at (default: float32 if there)"
    )
    parser.add_argument(
        "--durations", type=_table, metavar="N,N,...", help="duration table, where the model does not say it"
    )
    parser.add_argument("--placement", action="store_true", help="start the graphs and show which provider runs what")
    parser.add_argument("--provider", default="cpu", metavar="P", help="provider for --placement (default: cpu)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.epilog = "Exit status: 0 fine, 1 the model cannot be used or a check failed, 2 wrong usage."


def _table(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def run(args: argparse.Namespace) -> int:
    """Print the description and return the exit status."""
    from tdt.model import inspect_model

    try:
        found = inspect_model(args.model, precision=args.precision, durations=args.durations)
        text, values, fine = _placement(found, args.provider) if args.placement else _description(found)
    except TdtError as error:
        sys.stderr.write(f"tdt inspect: {error}\n")
        return 2 if isinstance(error, OptionError) else 1
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
