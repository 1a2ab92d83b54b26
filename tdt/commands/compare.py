"""`tdt compare`: models, providers and precisions on the same audio."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdt.errors import OptionError, TdtError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tdt.commands.progress import Bars

EXAMPLES = """\
A variant is MODEL[@PROVIDER][#PRECISION]; the first is what the others are held against.

examples:
  tdt compare model/ model-int8/ --audio recordings/ --references transcripts.tsv
  tdt compare v3 v3-int8@tensorrt:0,int8 v3@cuda:0 --audio recordings/ --markdown report.md --plot lengths.png
  tdt compare 'model/#float32' 'model/#int8' --audio a.wav b.wav --json report.json

Exit status: 0 done, 1 a model or the audio cannot be used, 2 wrong usage.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument("variants", nargs="+", metavar="VARIANT", help="two or more models to compare")
    parser.add_argument("--audio", nargs="+", required=True, metavar="PATH", help="recordings, or folders of them")
    parser.add_argument(
        "--references",
        metavar="FILE",
        help="tab-separated file name and text (default: the .txt beside each recording)",
    )
    parser.add_argument(
        "--normalizer",
        choices=["simple", "whisper", "none"],
        default="simple",
        help="what texts go through before errors are counted (default: simple)",
    )
    parser.add_argument(
        "--lengths",
        type=_seconds,
        default=(10.0, 20.0, 40.0),
        metavar="S,S,...",
        help="seconds of joined audio to compare encoders on (default: 10,20,40)",
    )
    parser.add_argument("--runs", type=int, default=3, help="encoder runs a length; the median counts (default: 3)")
    parser.add_argument("--threads", type=int, help="threads (default: one a core)")
    parser.add_argument("--json", metavar="FILE", help="write everything as JSON ('-': to standard output)")
    parser.add_argument("--markdown", metavar="FILE", help="write the tables as Markdown")
    parser.add_argument("--plot", metavar="FILE", help="draw the encoder error by clip length")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")


def _seconds(text: str) -> tuple[float, ...]:
    values = tuple(float(word) for word in text.split(","))
    if not all(value > 0 for value in values):
        raise argparse.ArgumentTypeError(f"{text!r} holds a length that is not above 0")
    return values


def run(args: argparse.Namespace) -> int:
    """Compare, write the report, and return the exit status."""
    from tdt.commands.progress import Bars

    try:
        with Bars(quiet=args.quiet) as bars:
            content = _compare(args, bars)
        _write(args, content)
    except TdtError as error:
        sys.stderr.write(f"tdt compare: {error}\n")
        return 2 if isinstance(error, OptionError) else 1
    except OSError as error:
        sys.stderr.write(f"tdt compare: the report cannot be written: {error}\n")
        return 1
    return 0


def _compare(args: argparse.Namespace, bars: Bars) -> dict[str, Any]:
    from tdt.quantization import Variant, compare, read_audio, read_references, report

    variants = [Variant.parse(text) for text in args.variants]
    if len(variants) < 2:
        raise OptionError("variants", args.variants, "two at least, such as: tdt compare model/ model-int8/ --audio …")
    audio = read_audio([Path(path) for path in args.audio])
    for path, reason in audio.skipped:
        sys.stderr.write(f"tdt compare: skipped {path}: {reason}\n")
    if not audio.clips:
        raise OptionError("--audio", args.audio, "at least one readable recording")
    paths = [clip.path for clip in audio.clips]
    references = read_references(Path(args.references) if args.references else None, paths)
    samples = [clip.samples for clip in audio.clips]
    results = compare(variants, samples, args.lengths, threads=args.threads, runs=args.runs, progress=bars)
    return report(results, paths, audio.seconds, references, args.normalizer)


def _write(args: argparse.Namespace, content: Mapping[str, Any]) -> None:
    from tdt.quantization import draw_lengths, markdown, text

    if args.json == "-":
        sys.stdout.write(json.dumps(content) + "\n")
    else:
        sys.stdout.write(text(content))
        if args.json:
            Path(args.json).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if args.markdown:
        Path(args.markdown).write_text(markdown(content), encoding="utf-8")
    if args.plot:
        rows = [
            (row["name"], [item["seconds"] for item in row["lengths"]], [item["error"] for item in row["lengths"]])
            for row in content["variants"][1:]
        ]
        draw_lengths(rows, Path(args.plot))
