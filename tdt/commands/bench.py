"""`tdt bench`: speed, memory and accuracy, side by side; or which model file belongs on which provider."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.commands.known import fusion_options
from tdt.commands.options import BUNDLED, SEARCHED, add

if TYPE_CHECKING:
    import argparse

FORMATS = ("table", "json", "csv", "markdown")

EPILOG = """\
examples:
  tdt bench                                        the bundled model on its recordings
  tdt bench talk.flac --batch 1,8 --length 3,30    clips joined to about 3 and 30 s, alone and in eights
  tdt bench --model DIR --precision float32,int8 --provider cpu --provider cuda:0 --format json -o bench.json
  tdt bench --report --model DIR                   load, short and long clip, CPU against GPU, and what to use
  tdt bench talk.flac --references said.tsv --phrases names.txt   speed and word error rate with phrases
  tdt bench --soak                                 does memory grow over 1000 clips of mixed lengths?

Each contender has a process of its own; within a case they run in turn, A B A B, after a warm-up: at least 10 runs and
3 s each. Every row carries its accuracy: tokens that agree with the float32 run on the CPU, and the word error rate
where --references are given. All samples are in the JSON.
Exit status: 0 done, 1 something could not be measured, 2 wrong usage.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the options from the table."""
    add(
        parser, "files", "models", "providers", "precisions", "decoder", "baseline", "references", "batches", "length",
        "min_runs", "min_seconds", "max_seconds", "summary", "soak", "format", "plots", "report", *SEARCHED,
        files={"nargs": "*", "shown": "the bundled recordings"},
        models={"shown": BUNDLED},
        providers={"shown": "cpu"},
        format={"choices": FORMATS, "default": "table"},
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Measure and write; return the exit status."""
    from tdt.profiling import cases_of, run_report, run_soak, run_sweep

    if args.plot:
        from tdt.profiling import require_plotting

        require_plotting()
    args.known = fusion_options(args)
    if args.soak is not None:
        return run_soak(args)
    if args.report:
        return run_report(args)
    return run_sweep(args, cases_of(args))
