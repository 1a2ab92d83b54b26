"""The `tdt` command: one module a subcommand, imported only when it is the one asked for.

Exit status of every subcommand: 0 done, 1 something failed (a message says what), 2 wrong usage, 130 interrupted, 141
nobody reads the output on (see :mod:`tdt.commands.streams`). Knows options, files, streams and exit statuses. Knows
nothing of how the work is done.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, cast

from tdt.commands.interrupts import INTERRUPTED, Interrupts
from tdt.commands.parsing import Parser
from tdt.commands.streams import NOBODY_READS, ReaderGoneError, prepare, settle
from tdt.errors import ASK_DOCTOR, OptionError, TdtError
from tdt.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

# name -> (module, one-line help). A module offers EPILOG, add_arguments(parser) and run(args) -> exit status.
COMMANDS: dict[str, tuple[str, str]] = {
    "transcribe": ("tdt.commands.transcribe", "turn speech files into text, JSON or subtitles"),
    "listen": ("tdt.commands.listen", "show text while people speak: a microphone, a pipe or a file"),
    "inspect": ("tdt.commands.inspection", "show what a model folder or a sound file holds, and check it"),
    "doctor": ("tdt.commands.doctor", "check this installation, and each provider against the CPU"),
    "profile": ("tdt.commands.profile", "show where the time of a transcription goes, stage by stage"),
    "bench": ("tdt.commands.bench", "measure speed, memory and accuracy over models, providers and batch sizes"),
    "convert": ("tdt.commands.convert", "make a model of a NeMo or Transformers checkpoint, without torch"),
    "quantize": ("tdt.commands.quantize", "make a static int8 model for TensorRT and CPUs"),
    "compare": ("tdt.commands.compare", "compare models, providers and precisions on the same audio"),
    "serve": ("tdt.commands.serve", "serve OpenAI's transcription API over HTTP, many callers sharing one model"),
    "corpus": ("tdt.commands.corpus", "label many recordings, on this machine or a Ray cluster, and score the texts"),
    "lm": ("tdt.commands.lm", "make, inspect and measure n-gram language models"),
    "triton": ("tdt.commands.triton", "write a model repository for Triton Inference Server"),
    "build-engine": ("tdt.commands.build_engine", "build TensorRT-RTX engines ahead of time, without a GPU"),
}

_ENDINGS = (
    "Everywhere: 130 interrupted, 141 nobody reads the output on (| head); what is printed is UTF-8 in any locale.\n"
)

_log = logging.getLogger("tdt")
# What Ctrl-C may end at any moment; transcribe says itself when that is over.
_NOTHING_TO_LOSE = frozenset({"transcribe", "inspect", "doctor"})


class Command(Protocol):
    """What a subcommand module offers."""

    EPILOG: str
    """What stands below the options in its help: examples, and what its exit status means."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Take the options from the table."""
        ...

    def run(self, args: argparse.Namespace) -> int:
        """Do the work and return the exit status; errors may leave as they are."""
        ...


def _command(name: str) -> Command:
    return cast("Command", importlib.import_module(COMMANDS[name][0]))


def _summary(name: str) -> str:
    text = COMMANDS[name][1]
    return text[0].upper() + text[1:] + "."


def build_parser() -> Parser:
    """Return the parser that lists the subcommands; their options are in parsers of their own, to start fast."""
    parser = Parser("tdt", "Parakeet-TDT speech recognition on ONNX Runtime.")
    parser.add_argument("--version", action="version", version=f"tdt {__version__}")
    subparsers = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=argparse.ArgumentParser
    )
    for name, (_, summary) in COMMANDS.items():
        subparsers.add_parser(name, help=summary)
    return parser


def command_parser(name: str) -> Parser:
    """Return the parser of a subcommand."""
    command = _command(name)
    parser = Parser(f"tdt {name}", _summary(name), command.EPILOG + _ENDINGS)
    command.add_arguments(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tdt` with `argv` and return its exit status; help and wrong usage raise SystemExit, as argparse does."""
    words = list(sys.argv[1:] if argv is None else argv)
    prepare()
    name = words[0] if words and words[0] in COMMANDS else ""
    try:
        with Interrupts(f"tdt {name}".rstrip()) as interrupts:
            return _run(name, words, interrupts)
    except ReaderGoneError:
        return NOBODY_READS
    except KeyboardInterrupt:
        return _tell(name, "interrupted", INTERRUPTED)
    except OptionError as error:
        return _tell(name, error, 2)
    except (TdtError, OSError) as error:
        _log.debug("tdt %s failed", name, exc_info=error)
        return _tell(name, error, 1)
    except ImportError as error:
        _log.debug("tdt %s failed", name, exc_info=error)
        return _tell(name, f"{error}. {ASK_DOCTOR}", 1)
    finally:
        settle()


def _run(name: str, words: Sequence[str], interrupts: Interrupts) -> int:
    """Do what the words say; what was printed is written out when this returns or ends."""
    try:
        if name:
            args = command_parser(name).read(words[1:])
            if name not in _NOTHING_TO_LOSE:
                interrupts.end_in_order()
            status = _command(name).run(args)
        else:
            parser = build_parser()
            if not words:
                parser.print_help(sys.stderr)
                parser.exit(2)
            parser.parse_args(words)
            parser.error("the COMMAND comes first")
    except SystemExit:
        sys.stdout.flush()
        raise
    sys.stdout.flush()
    return status


def _tell(name: str, problem: object, status: int) -> int:
    with suppress(OSError):
        sys.stderr.write(f"{f'tdt {name}'.rstrip()}: {problem}\n")
    return status
