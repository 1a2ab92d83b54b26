"""`tdt bench`: speed, memory and accuracy, side by side; or which model file belongs on which provider."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.errors import OptionError, TdtError
from tdt.profiling import say

if TYPE_CHECKING:
    import argparse

FORMATS = ("table", "json", "csv", "markdown")

_EPILOG = """\
examples:
  tdt bench                                        the bundled model on its recordings
  tdt bench talk.flac --batch 1,8 --length 3,30    clips joined to about 3 and 30 s, alone and in eights
  tdt bench --model DIR --precision float32,int8 --provider cpu --provider cuda:0 --format json -o bench.json
  tdt bench --report --model DIR                   load, short and long clip, CPU against GPU, and what to use
  tdt bench --soak                                 does memory grow over 1000 clips of mixed lengths?

Each contender has a process of its own; within a case they run in turn, A B A B, after a warm-up: at least 10 runs and
3 s each. Every row carries its accuracy: tokens that agree with the float32 run on the CPU, and the word error rate
where --references are given. All samples are in the JSON.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    import argparse

    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument("files", nargs="*", metavar="FILE", help="audio files (default: the bundled recordings)")
    parser.add_argument("--model", action="append", metavar="DIR|NAME", help="may be repeated (default: bundled model)")
    parser.add_argument("--provider", action="append", metavar="P", help="cpu, cuda:0, …; repeatable (default: cpu)")
    parser.add_argument("--precision", default="float32,int8", help="comma-separated; those that a model lacks are "
                        "left out (default: float32,int8)")  # fmt: skip
    parser.add_argument("--decoder", choices=("auto", "native", "onnx"), default="auto", help="decoding engine")
    parser.add_argument("--batch", default="1", metavar="N,…", help="clips at a time (default: 1)")
    parser.add_argument("--length", default="", metavar="S,…", help="join the files to clips of about so many seconds "
                        "(default: 3,30; `as-is` takes the files as they are)")  # fmt: skip
    parser.add_argument("--references", metavar="TSV", help="file<TAB>text lines, for word error rates")
    parser.add_argument("--baseline", metavar="DIR", help="float32 files to compare with, where the model has none")
    parser.add_argument("--min-runs", type=int, default=10, metavar="N", help="runs of each row (default: 10)")
    parser.add_argument("--min-seconds", type=float, default=3.0, metavar="S", help="and seconds (default: 3)")
    parser.add_argument("--max-seconds", type=float, default=60.0, metavar="S", help="no more runs after (default: 60)")
    parser.add_argument("--format", choices=FORMATS, default="table", help="of the result (default: table)")
    parser.add_argument("--plot", metavar="DIR", help="also draw RTFx by batch and length, accuracy by latency")
    parser.add_argument("--report", action="store_true", help="which model file on which provider, with the reasons")
    parser.add_argument("--soak", nargs="?", type=int, const=1000, metavar="CLIPS", help="growth of memory (1000)")
    parser.add_argument("-o", "--output", metavar="FILE", help="where the result goes (default: standard output)")


def run(args: argparse.Namespace) -> int:
    """Measure and write; return the exit status."""
    from tdt.profiling import cases_of, run_report, run_soak, run_sweep

    try:
        if args.soak is not None:
            return run_soak(args)
        if args.report:
            return run_report(args)
        return run_sweep(args, cases_of(args))
    except OptionError as error:
        say(f"tdt bench: {error}")
        return 2
    except TdtError as error:
        say(f"tdt bench: {error}")
        return 1
