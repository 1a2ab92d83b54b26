"""`tdt compare`: models, providers and precisions on the same audio."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdt.commands.options import add
from tdt.errors import OptionError
from tdt.profiling import check_writable, write_file
from tdt.quantization import NORMALIZERS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from tdt.commands.progress import Bars

EPILOG = """\
A variant is MODEL[@PROVIDER][#PRECISION]; the first is what the others are held against.

examples:
  tdt compare model/ model-int8/ --audio recordings/ --references transcripts.tsv
  tdt compare v3 v3-int8@tensorrt:0,int8 v3@cuda:0 --audio recordings/ --markdown report.md --plot lengths.png
  tdt compare 'model/#float32' 'model/#int8' --audio a.wav b.wav --json report.json

Exit status: 0 done, 1 a model or the audio cannot be used, 2 wrong usage.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the options from the table."""
    add(
        parser, "variants", "threads", "audio", "references", "normalizer", "lengths", "runs", "json_file", "markdown",
        "plot", "quiet",
        references={"shown": "the .txt beside each recording"},
        normalizer={"choices": NORMALIZERS},
        runs={"default": 3, "shown": "3; the median counts"},
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Compare, write the report, and return the exit status."""
    from tdt.commands.progress import Bars
    from tdt.profiling import require_plotting

    for name in (args.markdown, args.plot, None if args.json == "-" else args.json):
        check_writable(name)
    if args.plot:
        require_plotting()
    with Bars(quiet=args.quiet) as bars:
        content = _compare(args, bars)
    _write(args, content)
    return 0


def _compare(args: argparse.Namespace, bars: Bars) -> dict[str, Any]:
    from tdt.quantization import Variant, check_scoring, compare, find_audio, read_audio, read_references, report

    variants = [Variant.parse(text) for text in args.variants]
    if len(variants) < 2:
        raise OptionError("variants", args.variants, "two at least, such as: tdt compare model/ model-int8/ --audio …")
    found = find_audio([Path(path) for path in args.audio])
    if not found:
        raise OptionError("--audio", args.audio, "at least one recording")
    references = read_references(Path(args.references) if args.references else None, found)
    if references:
        check_scoring(args.normalizer)
    audio = read_audio(found)
    for path, reason in audio.skipped:
        sys.stderr.write(f"tdt compare: skipped {path}: {reason}\n")
    if not audio.clips:
        raise OptionError("--audio", args.audio, "at least one readable recording")
    paths = [clip.path for clip in audio.clips]
    said = {path: references[path] for path in paths if path in references}
    samples = [clip.samples for clip in audio.clips]
    results = compare(variants, samples, args.lengths, threads=args.threads, runs=args.runs, progress=bars)
    return report(results, paths, audio.seconds, said, args.normalizer)


def _write(args: argparse.Namespace, content: Mapping[str, Any]) -> None:
    from tdt.quantization import draw_lengths, markdown, text

    if args.json == "-":
        sys.stdout.write(json.dumps(content) + "\n")
    else:
        sys.stdout.write(text(content))
        if args.json:
            write_file(args.json, json.dumps(content, indent=1) + "\n")
    if args.markdown:
        write_file(args.markdown, markdown(content))
    if args.plot:
        rows = [
            (row["name"], [item["seconds"] for item in row["lengths"]], [item["error"] for item in row["lengths"]])
            for row in content["variants"][1:]
        ]
        draw_lengths(rows, Path(args.plot))
