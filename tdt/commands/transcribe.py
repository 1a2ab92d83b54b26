"""`tdt transcribe`: speech files into text, JSON or subtitles."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tdt.audio import expand
from tdt.commands.messages import Messages, memory, positive
from tdt.commands.outputs import Folder, Output, Stream
from tdt.commands.progress import Bars
from tdt.commands.running import STDIN, Run, journal_path
from tdt.errors import OptionError, TdtError
from tdt.loading import DECODERS, WEIGHTS
from tdt.text import CONFIDENCES, FORMATS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.recognizer import Recognizer

_EPILOG = """\
examples:
  tdt transcribe talk.flac                              the text
  tdt transcribe *.wav --format json > all.jsonl        one JSON object per file and line
  tdt transcribe lecture.mp3 --format srt -o subtitles  writes subtitles/lecture.srt
  tdt transcribe talks --recursive --format vtt -o out  a folder of talks, subfolders and all
  tdt transcribe meeting.flac --format srt -o . --resume  goes on where a run was stopped
  ffmpeg -i film.mkv -f wav - | tdt transcribe -        audio from standard input

Results appear in the order of the files, as they are done, those of recordings longer than a minute while they run;
messages go to standard error. Output files are valid at any time, whatever ends the run.
Exit status: 0 all done, 1 some file failed (the others are done and printed), 2 wrong usage.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help="audio files, or folders of them; - reads audio from standard input")
    add("--format", choices=tuple(FORMATS), default="txt", help="of the results (default: txt)")
    add("-o", "--output", metavar="DIR", help="write a file for each input into this folder instead of printing")
    add("--model", metavar="DIR|NAME", help="model folder or name (default: the bundled parakeet-tdt-tiny)")
    add("--provider", default="cpu", help="execution provider, such as cpu, cuda:0 or tensorrt:0,fp16 (default: cpu)")
    add("--precision", choices=("float32", "int8"), help="which model files (default: float32 where there)")
    add("--decoder", choices=DECODERS, default="auto", help="decoding engine (default: native where it can)")
    add(
        "--weights",
        choices=WEIGHTS,
        default="auto",
        help="weights of the decoder; float16 needs a card, int8 the CPU (default: float32, or as the model's)",
    )
    add("--confidence", choices=CONFIDENCES, default="entropy", help="measure of the confidences (default: entropy)")
    add("--channel", type=int, metavar="N", help="take this channel, from 0 (default: the mean of all)")
    add("--batch-size", type=positive, metavar="N", help="most files to a batch (default: chosen by length, up to 8)")
    add("--recursive", action="store_true", help="search the folders in folders, too")
    add("--resume", action="store_true", help="with -o: go on where a run was stopped; what is done is skipped")
    add("--skip-existing", action="store_true", help="with -o: skip inputs whose output file is there")
    add("--jobs", type=positive, default=1, metavar="N", help="long recordings that share batches (default: 1)")
    add("--chunk-seconds", type=float, metavar="S", help="longest window; shorter audio is not cut (default: 60)")
    add("--context-seconds", type=float, metavar="S", help="heard beyond a cut through speech (default: 2)")
    add("--max-memory", type=memory, metavar="SIZE", help="for the encoder's activations, such as 500M or 4G")
    add("--threads", type=positive, metavar="N", help="threads inside each stage (default: all cores)")
    add("-q", "--quiet", action="store_true", help="no progress and no warnings; errors are still told")


def run(args: argparse.Namespace) -> int:
    """Transcribe and return the exit status."""
    with Messages("tdt transcribe", quiet=args.quiet) as messages:
        try:
            _check(args)
            entries = expand(args.files, recursive=args.recursive)
            files = [entry.file for entry in entries]
            output: Output = (
                Folder(args.output, files, args.format, [entry.parent for entry in entries])
                if args.output
                else Stream(args.format)
            )
            if isinstance(output, Stream) and len(files) > 1 and args.format in {"srt", "vtt"}:
                messages.warn("the subtitles of several files follow one another; -o DIR gives each its own file")
            with _load(args) as recognizer:
                return _transcribe(recognizer, args, output, messages, files)
        except OptionError as error:
            messages.error(str(error))
            return 2
        except TdtError as error:
            messages.error(str(error))
            return 1
        except KeyboardInterrupt:
            messages.error("interrupted; the results so far are complete")
            return 130
        except BrokenPipeError:
            _silence_stdout()
            return 1


def _check(args: argparse.Namespace) -> None:
    if args.files.count(STDIN) > 1:
        raise OptionError("FILE", STDIN, "standard input once, as it can be read only once")
    if args.channel is not None and args.channel < 0:
        raise OptionError("--channel", args.channel, "a channel number from 0 on")
    for name in ("resume", "skip_existing"):
        if getattr(args, name) and not args.output:
            raise OptionError("--" + name.replace("_", "-"), "given", "an output folder with it: -o DIR")
    if args.jobs > 1 and not args.output:
        raise OptionError("--jobs", args.jobs, "1, or an output folder: -o DIR, as several files cannot print at once")


def _load(args: argparse.Namespace) -> Recognizer:
    from tdt.loading import load

    return load(
        args.model,
        provider=args.provider,
        precision=args.precision,
        threads=args.threads,
        decoder=args.decoder,
        weights=args.weights,
        confidence=args.confidence,
    )


def _transcribe(
    recognizer: Recognizer, args: argparse.Namespace, output: Output, messages: Messages, files: Sequence[str]
) -> int:
    """Write each result as it comes; return 1 where some failed."""
    wanted = [(index, file) for index, file in enumerate(files) if not _done_before(args, output, index, file)]
    with Bars(quiet=args.quiet or output.on_terminal) as bars:
        run = Run(recognizer, args, output, messages, bars)
        run(wanted)
    skipped = len(files) - len(wanted)
    if args.output and (len(files) > 1 or skipped):
        messages.warn(run.tally.summary(skipped))
    elif len(files) > 1 and run.tally.failed:
        messages.error(f"{run.tally.failed} of {len(files)} files failed; the others are done")
    return 1 if run.tally.failed else 0


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


def _silence_stdout() -> None:
    """Keep the interpreter from complaining about the closed pipe when it flushes at exit."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return
