"""`tdt inspect`: show what a model folder holds and check it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from tdt.errors import OptionError, TdtError

if TYPE_CHECKING:
    import argparse


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
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.epilog = "Exit status: 0 fine, 1 the model cannot be used or a check failed, 2 wrong usage."


def _table(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def run(args: argparse.Namespace) -> int:
    """Print the description and return the exit status."""
    from tdt.inspection import describe, render
    from tdt.layouts import inspect_model

    try:
        found = inspect_model(args.model, precision=args.precision, durations=args.durations)
    except TdtError as error:
        sys.stderr.write(f"tdt inspect: {error}\n")
        return 2 if isinstance(error, OptionError) else 1
    description = describe(found)
    if args.json:
        sys.stdout.write(json.dumps(description.to_dict(), ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(render(description))
    return 0 if description.ok else 1
