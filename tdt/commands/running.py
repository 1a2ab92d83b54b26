"""The work of `tdt transcribe`: short files in batches, long ones as they run, every failure at its own place."""

from __future__ import annotations

import sys
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdt.audio import glance, open_source
from tdt.commands.names import fitting
from tdt.errors import AudioNotFoundError, AudioTailError, OutputError, TdtError
from tdt.longform import Journal, source_identity, take_up
from tdt.text import ConsoleWriter, FileWriter, Transcript

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from tdt.audio import Opened
    from tdt.commands.messages import Messages
    from tdt.commands.outputs import Output
    from tdt.commands.progress import Bars
    from tdt.longform import Pace, Part, Recording
    from tdt.pipeline import Result
    from tdt.recognizer import Recognizer

STDIN = "-"
# Standard output is lost to all inputs alike; a file that cannot be written, to its own input only.
_NO_OUTPUT = (BrokenPipeError, OutputError)


@dataclass(frozen=True, slots=True)
class Task:
    """One input: its place, its name, its length, and whether that is more than a window; a stream is open already."""

    index: int
    file: str
    seconds: float
    long: bool
    opened: Opened | None = None


@dataclass(slots=True)
class Tally:
    """What has become of the inputs."""

    done: int = 0
    failed: int = 0
    audio_seconds: float = 0.0
    began: float = field(default_factory=time.monotonic)

    def summary(self, skipped: int) -> str:
        """Return it in a sentence."""
        took = max(time.monotonic() - self.began, 1e-9)
        parts = [f"{self.done} done", f"{skipped} skipped"] if skipped else [f"{self.done} done"]
        parts += [f"{self.failed} failed"] if self.failed else []
        speed = f"{self.audio_seconds / took:.0f} x real time"
        return f"{', '.join(parts)}; {self.audio_seconds / 60:.1f} min of audio in {took / 60:.1f} min, {speed}"


class Run:
    """Transcribes inputs into an output.

    Parameters
    ----------
    recognizer : Recognizer
    args : Namespace
        The options of the command.
    output : Output
    messages : Messages
    bars : Bars
    """

    def __init__(
        self, recognizer: Recognizer, args: argparse.Namespace, output: Output, messages: Messages, bars: Bars
    ) -> None:
        self._recognizer = recognizer
        self._args = args
        self._output = output
        self._messages = messages
        self._bars = bars
        self._long_form = recognizer.long_form(
            channel=args.channel,
            track=args.track,
            batch_size=args.batch_size,
            chunk_seconds=args.chunk_seconds,
            context_seconds=args.context_seconds,
            max_memory_bytes=args.max_memory,
            jobs=args.jobs,
        )
        self._journals: dict[int, Journal] = {}
        self._writers: dict[int, FileWriter | ConsoleWriter] = {}
        self._heard: dict[int, float] = {}
        self._total_seconds = 0.0
        self.tally = Tally()

    def __call__(self, files: Sequence[tuple[int, str]]) -> None:
        """Do the inputs, given by place and name, in order."""
        tasks = [task for index, file in files if (task := self._task(index, file)) is not None]
        self._total_seconds = sum(task.seconds for task in tasks)
        for (long, _), group in groupby(tasks, key=lambda task: (task.long, task.file == STDIN)):
            if long:
                self._run_long(list(group))
            else:
                self._run_short(list(group))

    # --- short ----------------------------------------------------------------------------------------------------

    def _run_short(self, tasks: Sequence[Task]) -> None:
        sources: list[Any] = [task.opened or task.file for task in tasks]
        results = self._recognizer.transcribe_each(
            sources,
            channel=self._args.channel,
            track=self._args.track,
            batch_size=self._args.batch_size,
            chunk_seconds=self._args.chunk_seconds,
            context_seconds=self._args.context_seconds,
            max_memory_bytes=self._args.max_memory,
        )
        for task, result in zip(tasks, results, strict=True):
            self._finish(task, result)

    def _finish(self, task: Task, result: Result) -> None:
        try:
            if isinstance(result, AudioTailError) and isinstance(result.partial, Transcript):
                self._output.write(task.index, task.file, result.partial)
            if isinstance(result, TdtError):
                raise result
            self._output.write(task.index, task.file, result)
        except _NO_OUTPUT:
            raise
        except (TdtError, OSError) as error:
            self._fail(task, error)
        else:
            self.tally.done += 1
            self.tally.audio_seconds += result.audio_seconds
        self._advance(task, task.seconds)

    # --- long -----------------------------------------------------------------------------------------------------

    def _run_long(self, tasks: Sequence[Task]) -> None:
        open_tasks: dict[int, Task] = {}

        def recordings() -> Iterator[Recording]:
            for task in tasks:
                recording = self._recording(task)
                if recording is not None:
                    open_tasks[task.index] = task
                    yield recording

        parts = self._long_form.run(recordings())
        with closing(parts):
            try:
                for part in parts:
                    self._take(open_tasks[part.recording.index], part)
            except KeyboardInterrupt:  # before the threads are ended, which takes as long as what they are doing
                for writer in self._writers.values():
                    with suppress(OSError):
                        writer.pause()
                raise

    def _recording(self, task: Task) -> Recording | None:
        """Open a long input, and go on from its journal where it has one."""
        try:
            opened = task.opened or self._open(task.file)
            assert opened.reader is not None
            pace: Pace = "pipe" if opened.reader.piped else "file"
            recording = self._long_form.recording(opened.reader, task.index, pace=pace)
            self._writers[task.index] = writer = self._writer(task)
            parts = []
            if isinstance(writer, FileWriter) and task.file != STDIN:
                journal = self._journals[task.index] = self._journal(task, writer.path)
                replay = journal.read() if self._args.resume else None
                if replay is not None:
                    made = [recording.segmenter.add_block(block) for block in replay.blocks]
                    parts = [transcript for transcript in made if transcript is not None]
                    take_up(recording, replay)
                    self._messages.warn(f"{task.file}: going on after {replay.seconds:.0f} s")
                journal.begin(replay)
            writer.begin(parts)
        except _NO_OUTPUT:
            raise
        except (TdtError, OSError) as error:
            self._writers.pop(task.index, None)
            self._fail(task, error)
            self._advance(task, task.seconds)
            return None
        return recording

    def _take(self, task: Task, part: Part) -> None:
        """Put out what has become final; where its file cannot be written any more, this input has failed."""
        recording = part.recording
        try:
            written = self._write(task, part)
        except _NO_OUTPUT:
            raise
        except OSError as error:
            self._writers.pop(task.index)
            self._fail(task, error)
            written = False
        if not written or not part.done:
            self._advance(task, task.seconds if part.done else recording.seconds)
            return
        self.tally.audio_seconds += recording.seconds
        if recording.error is None:
            self.tally.done += 1
        else:
            kept = "" if isinstance(recording.error, AudioTailError) else f" after {recording.seconds:.1f} s"
            self._fail(task, recording.error, kept)
        self._advance(task, task.seconds)

    def _write(self, task: Task, part: Part) -> bool:
        writer, journal = self._writers.get(task.index), self._journals.get(task.index)
        if writer is None:
            return False
        if part.transcript is not None:
            writer.add(part.transcript)
        if part.done:
            writer.close(part.recording.seconds)
            del self._writers[task.index]
        if journal is not None:
            journal.remove() if part.done else journal.add(part)
        return True

    def _writer(self, task: Task) -> FileWriter | ConsoleWriter:
        from tdt.commands.outputs import Folder

        output, index = self._output, task.index
        if isinstance(output, Folder):
            path = output.path(index)
            return FileWriter(path, self._args.format, task.file, lambda _, text: output.replace(index, text))
        return ConsoleWriter(self._args.format, task.file, _print)

    def _journal(self, task: Task, path: Path) -> Journal:
        args, files = self._args, self._recognizer.files
        graphs = [files.encoder, files.decoder_joint, files.decoder, files.joiner, files.vocabulary]
        options = ("format", "provider", "precision", "decoder", "weights", "confidence", "channel", "track")
        identity = {
            "source": source_identity(Path(task.file)),
            "model": [[str(graph), graph.stat().st_size] for graph in graphs if graph is not None],
            "options": {name: getattr(args, name) for name in options},
            "plan": str(self._long_form.plan),
            "batch_size": self._long_form.batch_size,
        }
        return Journal(journal_path(path), identity)

    # --- both -----------------------------------------------------------------------------------------------------

    def _task(self, index: int, file: str) -> Task | None:
        limit, channel, track = self._long_form.longest_uncut, self._args.channel, self._args.track
        try:
            if file == STDIN:
                opened = self._open(_standard_input())
                return Task(index, file, opened.seconds or 0.0, opened.long, opened)
            seconds, long = glance(file, limit, channel=channel, track=track)
        except TdtError as error:
            self._fail(Task(index, file, 0.0, long=False), error)
            return None
        return Task(index, file, seconds or 0.0, long)

    def _open(self, source: Any) -> Opened:
        limit, channel, track = self._long_form.longest_uncut, self._args.channel, self._args.track
        return open_source(source, limit, channel=channel, track=track, wait=False)  # a pipe may be as slow as speech

    def _fail(self, task: Task, error: Exception, kept: str = "") -> None:
        self.tally.failed += 1
        text = str(error)
        self._messages.error((text if task.file in text else f"{task.file}: {text}") + kept)

    def _advance(self, task: Task, seconds: float) -> None:
        self._heard[task.index] = max(seconds, self._heard.get(task.index, 0.0))
        if self._total_seconds:
            self._bars("transcribing", sum(self._heard.values()), self._total_seconds)


def journal_path(path: Path) -> Path:
    """Return where the journal of an output file lies while it is under way."""
    return path.with_name(fitting(f".{path.name}", ".journal"))


def _standard_input() -> Any:
    if sys.stdin is None:
        raise AudioNotFoundError("Standard input is closed; audio was expected there. Pipe it in, or name a file.")
    return sys.stdin.buffer


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
