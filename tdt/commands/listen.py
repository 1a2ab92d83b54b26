"""`tdt listen`: text while people speak, from a microphone, a pipe or a file."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

from tdt.ahead import Ahead
from tdt.audio import BlockReader
from tdt.commands.captions import AUTO, STYLES, captions
from tdt.commands.hearing import devices, in_pieces, microphone, paced
from tdt.commands.keeping_up import Pace, advice
from tdt.commands.known import fusion_options
from tdt.commands.messages import Messages
from tdt.commands.options import KNOWN, add
from tdt.commands.running import STDIN, load_model
from tdt.commands.streams import standard_input
from tdt.errors import AudioError, OptionError
from tdt.live import PRESETS, contexts_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

    from tdt.commands.captions import Captions
    from tdt.live import LiveStream
    from tdt.options import FusionOptions
    from tdt.recognizer import Recognizer
    from tdt.stages import Float32

# Tenths of a second that may wait while a step computes: five minutes, 19 MB.
_PIECES_AHEAD = 3000

EPILOG = """\
examples:
  tdt listen                                            the microphone (extra "mic")
  tdt listen mic:USB --latency 2                        the device of that name or number; two seconds of latency
  arecord -f S16_LE -r 16000 | tdt listen -             what another program records
  ffmpeg -i rtsp://camera -f wav - | tdt listen - --format vtt > captions.vtt
  tdt listen talk.wav --pace                            a file as if it were spoken now
  tdt listen --phrases names.txt --script latin         words that are likely to be said, and no other script

On a terminal the running line is rewritten, words that may still change set apart; elsewhere each update is one JSON
object on a line: kind (speech, partial, final, silence), final, draft, words[{text, start, end, confidence, settled}],
start, end, audio_seconds. What a final update says never changes. --format text prints closed utterances, a line each.
Messages go to standard error, at the end with the latency by design, what a chunk computes, and the speed.
Exit status: 0 done, also where Ctrl-C ends a microphone; 1 the sound broke off or could not be had; 2 wrong usage.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the options from the table."""
    add(
        parser, "heard", "model", "provider_or_auto", "precision", "decoder", "weights", "threads", "channel", "track",
        "pace", "devices", "latency", "left", "chunk", "right", "end_of_speech", "restart", "format", "quiet",
        *KNOWN,
        format={"choices": STYLES, "default": AUTO, "shown": "auto: text on a terminal, json elsewhere"},
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Listen and return the exit status."""
    if args.devices:
        sys.stdout.write(devices() + "\n")
        return 0
    device = _device(args.source)
    if args.pace and (device is not None or args.source == STDIN):
        raise OptionError("--pace", "given", "a file: what comes from elsewhere has a pace of its own")
    with Messages("tdt listen", quiet=args.quiet) as messages, ExitStack() as opened:
        pieces = _pieces(args, device, messages, opened)  # first: a file that is not there needs no model
        known = fusion_options(args)
        recognizer = opened.enter_context(load_model(args))
        stream = opened.enter_context(_stream(recognizer, args, known))
        hears = Hearing(stream, captions(args.format), messages, live=bool(args.pace) or device is not None)
        return hears(pieces, endless=device is not None)


class Hearing:
    """Pushes what is heard, shows what becomes known, and watches the time.

    Parameters
    ----------
    stream : LiveStream
    shown : Captions
    messages : Messages
    live : bool
        Whether the sound comes at the pace of speech, so that falling behind is worth a word.
    """

    def __init__(self, stream: LiveStream, shown: Captions, messages: Messages, *, live: bool) -> None:
        self._stream, self._shown, self._messages, self._live = stream, shown, messages, live
        self.pace = Pace(stream.contexts)

    def __call__(self, pieces: Iterable[Float32], *, endless: bool) -> int:
        """Listen until the sound ends; return the exit status."""
        status = 0
        self._shown.begin()
        try:
            try:
                for piece in pieces:
                    self._step(self._stream.push, piece)
            except AudioError as error:  # what was heard before it counts
                self._messages.error(str(error))
                status = 1
            except KeyboardInterrupt:
                if not endless:
                    raise
            self._step(self._stream.finish)
        finally:
            self._shown.end(self._stream.audio_seconds)
        self._messages.warn(self.pace.summary())
        return status

    def _step(self, call: Any, *given: Any) -> None:
        before, begun = self._stream.decoded_seconds, time.perf_counter()
        updates = call(*given)
        self.pace.add(time.perf_counter() - begun, self._stream.decoded_seconds - before)
        for update in updates:
            self._shown.show(update)
        taken = self.pace.falls_behind() if self._live else None
        if taken is not None:
            presets = {name: contexts_of(self._stream.setup.spec, latency=name) for name in PRESETS}
            self._messages.warn(advice(self.pace.contexts, taken, presets))


def _device(source: str | None) -> str | None:
    """Return what comes after "mic:", empty for the default microphone; None for a file or pipe."""
    if source is None or source == "mic":
        return ""
    return source[4:] if source.startswith("mic:") else None


def _pieces(args: argparse.Namespace, device: str | None, messages: Messages, opened: ExitStack) -> Iterable[Float32]:
    """Return what is heard; what comes by itself is taken in a thread: nothing is lost while a step computes."""
    if device is not None:
        heard: Iterator[Float32] = microphone(device or None, messages.warn)
        return opened.enter_context(closing(Ahead(heard, _PIECES_AHEAD)))
    source: Any = standard_input() if args.source == STDIN else args.source
    reader = opened.enter_context(BlockReader(source, channel=args.channel, track=args.track))
    pieces = in_pieces(reader)
    if args.pace:
        return opened.enter_context(closing(Ahead(paced(pieces), _PIECES_AHEAD)))
    return opened.enter_context(closing(Ahead(pieces, _PIECES_AHEAD))) if reader.piped else pieces


def _stream(recognizer: Recognizer, args: argparse.Namespace, known: FusionOptions) -> LiveStream:
    options: dict[str, Any] = {"left": args.left, "chunk": args.chunk, "right": args.right, "latency": args.latency}
    options |= known
    if args.end_of_speech is not None:
        options["end_of_speech"] = _pause(args.end_of_speech)
    if args.restart is not None:
        options["restart"] = _pause(args.restart)
    return recognizer.live(**options)


def _pause(text: str) -> float | None:
    return None if text == "off" else float(text)
