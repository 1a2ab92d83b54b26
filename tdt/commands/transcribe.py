"""`tdt transcribe`: speech files into text, JSON or subtitles."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from tdt.commands.messages import Messages, positive
from tdt.commands.outputs import Folder, Output, Stream
from tdt.errors import OptionError, TdtError
from tdt.loading import DECODERS, WEIGHTS
from tdt.render import FORMATS
from tdt.transcript import CONFIDENCES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.recognizer import Recognizer

STDIN = "-"

_EPILOG = """\
examples:
  tdt transcribe talk.flac                              the text
  tdt transcribe *.wav --format json > all.jsonl        one JSON object per file and line
  tdt transcribe lecture.mp3 --format srt -o subtitles  writes subtitles/lecture.srt
  ffmpeg -i film.mkv -f wav - | tdt transcribe -        audio from standard input

Results appear in the order of the files, as they are done; messages go to standard error.
Exit status: 0 all done, 1 some file failed (the others are done and printed), 2 wrong usage.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help="audio files; - reads audio from standard input")
    add("--format", choices=tuple(FORMATS), default="txt", help="of the results (default: txt)")
    add("-o", "--output", metavar="DIR", help="write a file for each input into this folder instead of printing")
    add("--model", metavar="DIR|NAME", help="model folder or name (default: the bundled parakeet-tdt-tiny)")
    add("--provider", default="cpu", help="execution provider, such as cpu, cuda:0 or tensorrt:0,fp16 (default: cpu)")
    add("--precision", choices=("float32", "int8"), help="which model files (default: float32 where there)")
    add("--decoder", choices=DECODERS, default="auto", help="decoding engine (default: native where it can)")
    add("--weights", choices=WEIGHTS, default="auto", help="weights of the native decoder (default: as the model's)")
    add("--confidence", choices=CONFIDENCES, default="entropy", help="measure of the confidences (default: entropy)")
    add("--channel", type=int, metavar="N", help="take this channel, from 0 (default: the mean of all)")
    add("--batch-size", type=positive, metavar="N", help="most files to a batch (default: chosen by length, up to 8)")
    add("--threads", type=positive, metavar="N", help="threads inside each stage (default: all cores)")
    add("-q", "--quiet", action="store_true", help="no progress and no warnings; errors are still told")


def run(args: argparse.Namespace) -> int:
    """Transcribe and return the exit status."""
    with Messages("tdt transcribe", quiet=args.quiet) as messages:
        try:
            _check(args)
            output: Output = Folder(args.output, args.files, args.format) if args.output else Stream(args.format)
            if isinstance(output, Stream) and len(args.files) > 1 and args.format in {"srt", "vtt"}:
                messages.warn("the subtitles of several files follow one another; -o DIR gives each its own file")
            with _load(args) as recognizer:
                return _transcribe(recognizer, args, output, messages)
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


def _transcribe(recognizer: Recognizer, args: argparse.Namespace, output: Output, messages: Messages) -> int:
    """Write each result as it comes; return 1 where some failed."""
    sources = _sources(args.files)
    failed = 0
    results = recognizer.transcribe_each(sources, channel=args.channel, batch_size=args.batch_size)
    with messages.progress(len(sources), hidden=output.on_terminal) as advance:
        for index, (file, result) in enumerate(zip(args.files, results, strict=True)):
            try:
                if isinstance(result, TdtError):
                    raise result
                output.write(index, file, result)
            except BrokenPipeError:
                raise
            except (TdtError, OSError) as error:
                failed += 1
                messages.error(str(error) if file in str(error) else f"{file}: {error}")
            advance()
    if len(sources) > 1 and failed:
        messages.error(f"{failed} of {len(sources)} files failed; the others are done")
    return 1 if failed else 0


def _sources(files: Sequence[str]) -> list[Any]:
    return [sys.stdin.buffer if file == STDIN else file for file in files]


def _silence_stdout() -> None:
    """Keep the interpreter from complaining about the closed pipe when it flushes at exit."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return
