"""The `tdt` command: one module a subcommand, imported only when it is the one asked for or help is shown.

Knows options, files, streams and exit statuses. Knows nothing of how the work is done.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import TYPE_CHECKING, Protocol, cast

from tdt.commands.interrupts import INTERRUPTED, Interrupts
from tdt.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

# name -> (module, one-line help). A module offers add_arguments(parser) and run(args) -> exit status.
COMMANDS: dict[str, tuple[str, str]] = {
    "transcribe": ("tdt.commands.transcribe", "turn speech files into text, JSON or subtitles"),
    "inspect": ("tdt.commands.inspection", "show what a model folder holds and check it"),
    "doctor": ("tdt.commands.doctor", "check this installation, and each provider against the CPU"),
    "profile": ("tdt.commands.profile", "show where the time of a transcription goes, stage by stage"),
    "bench": ("tdt.commands.bench", "measure speed, memory and accuracy over models, providers and batch sizes"),
    "quantize": ("tdt.commands.quantize", "make a static int8 model for TensorRT and CPUs"),
    "compare": ("tdt.commands.compare", "compare models, providers and precisions on the same audio"),
    "build-engine": ("tdt.commands.build_engine", "build TensorRT-RTX engines ahead of time, without a GPU"),
}

# What Ctrl-C may end at any moment; transcribe says itself when that is over.
_NOTHING_TO_LOSE = frozenset({"transcribe", "inspect", "doctor"})


class Command(Protocol):
    """What a subcommand module offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        ...

    def run(self, args: argparse.Namespace) -> int:
        """Do the work and return the exit status."""
        ...


def _command(name: str) -> Command:
    return cast("Command", importlib.import_module(COMMANDS[name][0]))


def build_parser(chosen: str | None) -> argparse.ArgumentParser:
    """Return the parser; only the chosen subcommand's module is imported, to start fast."""
    parser = argparse.ArgumentParser(prog="tdt", description="Parakeet-TDT speech recognition on ONNX Runtime.")
    parser.add_argument("--version", action="version", version=f"tdt {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, summary) in COMMANDS.items():
        sub = subparsers.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name == chosen:
            _command(name).add_arguments(sub)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tdt` with `argv` and return its exit status (0 done, 1 something failed, 2 usage, 130 interrupted)."""
    words = list(sys.argv[1:] if argv is None else argv)
    chosen = next((word for word in words if word in COMMANDS), None)
    called = f"tdt {chosen}" if chosen else "tdt"
    try:
        with Interrupts(called) as interrupts:
            args = build_parser(chosen).parse_args(words)
            if args.command not in _NOTHING_TO_LOSE:
                interrupts.end_in_order()
            return _command(args.command).run(args)
    except KeyboardInterrupt:
        sys.stderr.write(f"{called}: interrupted\n")
        return INTERRUPTED
