"""`tdt transcribe`: speech files into text, JSON or subtitles."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tdt.audio import expand
from tdt.commands.interrupts import end_in_order
from tdt.commands.known import fusion_options
from tdt.commands.messages import Messages
from tdt.commands.options import FUSION, add
from tdt.commands.outputs import Folder, Output, Stream
from tdt.commands.progress import Bars
from tdt.commands.running import STDIN, Run, journal_path, load_model
from tdt.errors import OptionError
from tdt.longform import DEFAULT_CHUNK_SECONDS
from tdt.text import FORMATS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from tdt.options import FusionOptions
    from tdt.recognizer import Recognizer

_ORDERLY_SECONDS = 5.0  # to write what is known of long recordings

EPILOG = """\
examples:
  tdt transcribe talk.flac                              the text
  tdt transcribe *.wav --format json > all.jsonl        one JSON object per file and line
  tdt transcribe lecture.mp3 --format srt -o subtitles  writes subtitles/lecture.srt
  tdt transcribe talks --recursive --format vtt -o out  a folder of talks, subfolders and all
  tdt transcribe meeting.flac --format srt -o . --resume  goes on where a run was stopped
  tdt transcribe visit.wav --phrase amlodipine --phrases names.txt  words that are likely to be said
  ffmpeg -i film.mkv -f wav - | tdt transcribe -        audio from standard input

Results appear in the order of the files, as they are done, those of recordings longer than a minute while they run;
messages go to standard error. Output files are valid at any time, whatever ends the run.

Names in DIR: talk.wav gives talk.srt; where another input of the call could take that name, or the result of another
file has it, talk.wav.srt, then talk.wav-1a2b3c4d.srt with a mark of the path. --skip-existing goes by these names.
Names over 255 bytes are cut and end in ~ and a mark. No input is overwritten. In folders, the name tells what is audio.
JSON names the input in UTF-8; bytes of its name that are none stand as \\xNN.
Speech of a second or more that holds no word is decoded again; where it stays empty, standard error and JSON say so.
Exit status: 0 all done, 1 some file failed (the others are done and printed) or, with --strict, speech stayed without
words, 2 wrong usage.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the options from the table."""
    add(
        parser, "inputs", "model", "provider_or_auto", "precision", "decoder", "weights", "threads", "recursive",
        "channel", "track", "no_second_look", "batch_size", "chunk_seconds", "context_seconds", "max_memory",
        "jobs", "format", "folder", "confidence", "resume", "skip_existing", "strict", "quiet", *FUSION,
        format={"choices": tuple(FORMATS), "default": "txt"},
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Transcribe and return the exit status."""
    with Messages("tdt transcribe", quiet=args.quiet) as messages:
        try:
            _check(args)
            files, parents, refused = _inputs(args, messages)
            output: Output = Folder(args.output, files, args.format, parents) if args.output else Stream(args.format)
            fusion = fusion_options(args)
            if not files:
                return 1
            if isinstance(output, Stream) and len(files) > 1 and args.format in {"srt", "vtt"}:
                messages.warn("the subtitles of several files follow one another; -o DIR gives each its own file")
            with load_model(args, confidence=args.confidence) as recognizer:
                end_in_order(_ORDERLY_SECONDS)
                return _transcribe(recognizer, args, output, messages, (files, refused), fusion)
        except KeyboardInterrupt:
            messages.error("interrupted; the results so far are complete")
            return 130


def _check(args: argparse.Namespace) -> None:
    if args.files.count(STDIN) > 1:
        raise OptionError("FILE", STDIN, "standard input once, as it can be read only once")
    for name in ("resume", "skip_existing"):
        if getattr(args, name) and not args.output:
            raise OptionError("--" + name.replace("_", "-"), "given", "an output folder with it: -o DIR")
    if args.strict and args.no_second_look:
        raise OptionError("--strict", "given", "no --no-second-look with it, which leaves open what was skipped")
    window = args.chunk_seconds or DEFAULT_CHUNK_SECONDS
    if args.context_seconds is not None and args.context_seconds > window / 4:
        expected = f"seconds from 0 to {window / 4:g}, a quarter of the window"
        raise OptionError("--context-seconds", args.context_seconds, expected)
    if args.jobs > 1 and not args.output:
        raise OptionError("--jobs", args.jobs, "1, or an output folder: -o DIR, as several files cannot print at once")


def _inputs(args: argparse.Namespace, messages: Messages) -> tuple[list[str], list[Path], int]:
    """Return the inputs, the folder of each result below the output folder, and how many were none."""
    entries = expand(args.files, recursive=args.recursive, tell=messages.warn)
    refused = [entry.error for entry in entries if entry.error is not None]
    for error in refused:
        messages.error(str(error))
    good = [entry for entry in entries if entry.error is None]
    if args.output:  # one file for each: what is given twice is done once
        good = list({(os.path.abspath(entry.file), entry.parent): entry for entry in reversed(good)}.values())[::-1]  # noqa: PTH100
    return [entry.file for entry in good], [entry.parent for entry in good], len(refused)


def _transcribe(
    recognizer: Recognizer,
    args: argparse.Namespace,
    output: Output,
    messages: Messages,
    inputs: tuple[Sequence[str], int],
    fusion: FusionOptions,
) -> int:
    """Write each result as it comes; return 1 where some failed. `inputs`: files, and how many more were refused."""
    files, refused = inputs
    wanted = [(index, file) for index, file in enumerate(files) if not _done_before(args, output, index, file)]
    with Bars(quiet=args.quiet or output.on_terminal) as bars:
        run = Run(recognizer, args, output, messages, bars, fusion)
        run.tally.failed = refused
        run(wanted)
    skipped = len(files) - len(wanted)
    if args.output and (len(files) > 1 or skipped):
        messages.warn(run.tally.summary(skipped))
    elif len(files) + refused > 1 and run.tally.failed:
        messages.error(f"{run.tally.failed} of {len(files) + refused} files failed; the others are done")
    return 1 if run.tally.failed or (args.strict and run.skipped.found) else 0


def _done_before(args: argparse.Namespace, output: Output, index: int, file: str) -> bool:
    """Say whether an input need not be done again: its output is there, newer than itself, and not under way."""
    if not (args.skip_existing or args.resume) or not isinstance(output, Folder) or file == STDIN:
        return False
    path = output.path(index)
    try:
        newer = path.stat().st_mtime_ns >= Path(file).stat().st_mtime_ns
    except OSError:
        return False
    return newer and not journal_path(path).exists()
