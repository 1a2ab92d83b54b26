"""The work of `tdt transcribe`: short files in batches, long ones as they run, every failure at its own place."""

from __future__ import annotations

import time
from collections import deque
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdt.audio import open_source
from tdt.commands.known import identity
from tdt.commands.names import fitting
from tdt.commands.skipped import Skipped
from tdt.commands.streams import print_out, standard_input
from tdt.errors import AudioTailError, OutputError, TdtError
from tdt.failures import Alone, outcome
from tdt.longform import DEFAULT_CHUNK_SECONDS, Journal, source_identity, take_up
from tdt.text import ConsoleWriter, FileWriter, Transcript

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from tdt.audio import Opened
    from tdt.commands.messages import Messages
    from tdt.commands.outputs import Output
    from tdt.commands.progress import Bars
    from tdt.longform import Pace, Part, Recording
    from tdt.options import FusionOptions, StreamOptions
    from tdt.pipeline import Result
    from tdt.recognizer import Recognizer

STDIN = "-"
# Standard output is lost to all inputs alike; a file that cannot be written, to its own input only.
_NO_OUTPUT = (BrokenPipeError, OutputError)


@dataclass(frozen=True, slots=True)
class Task:
    """One input: its place, its name, and what was opened there."""

    index: int
    file: str
    opened: Opened


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
    fusion : FusionOptions
        What is known beforehand.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        args: argparse.Namespace,
        output: Output,
        messages: Messages,
        bars: Bars,
        fusion: FusionOptions,
    ) -> None:
        self._recognizer = recognizer
        self._args = args
        self._output = output
        self._messages = messages
        self._bars = bars
        self._options: StreamOptions = {
            "channel": args.channel,
            "track": args.track,
            "batch_size": args.batch_size,
            "chunk_seconds": args.chunk_seconds,
            "context_seconds": args.context_seconds,
            "max_memory_bytes": args.max_memory,
            "second_look": not args.no_second_look,
        }
        self._options |= fusion  # type: ignore[typeddict-item]  # its keys are among the options
        self._long_form = recognizer.long_form(**self._options, jobs=args.jobs)
        self._journals: dict[int, Journal] = {}
        self._writers: dict[int, FileWriter | ConsoleWriter] = {}
        self._shares: dict[int, float] = {}
        self._done = 0.0  # inputs, with parts of those that are under way
        self._inputs = 0
        self.tally = Tally()
        self.skipped = Skipped(messages, strict=args.strict)

    def __call__(self, files: Sequence[tuple[int, str]]) -> None:
        """Do the inputs, given by place and name, in order; each is opened when its turn comes, and once."""
        self._inputs = len(files)
        tasks = (task for index, file in files if (task := self._task(index, file)) is not None)
        for long, group in groupby(tasks, key=lambda task: task.opened.long):
            if long:
                self._run_long(group)
            else:
                self._run_short(group)

    # --- short ----------------------------------------------------------------------------------------------------

    def _run_short(self, tasks: Iterator[Task]) -> None:
        taken: deque[Task] = deque()

        def sources() -> Iterator[Any]:
            for task in tasks:
                taken.append(task)
                yield task.opened

        for result in self._recognizer.transcribe_each(sources(), **self._options):
            self._finish(taken.popleft(), result)

    def _finish(self, task: Task, result: Result) -> None:
        with self._alone(task):
            if isinstance(result, AudioTailError) and isinstance(result.partial, Transcript):
                self._output.write(task.index, task.file, result.partial)
                self._tell_skipped(task, [result.partial])
            if isinstance(result, TdtError):
                raise result
            self._output.write(
                task.index, task.file, replace(result, candidates=result.candidates[: self._args.nbest or 0])
            )
            self.tally.done += 1
            self.tally.audio_seconds += result.audio_seconds
            self._tell_skipped(task, [result])
        self._advance(task.index)

    # --- long -----------------------------------------------------------------------------------------------------

    def _run_long(self, tasks: Iterator[Task]) -> None:
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
        """Begin a long input, and go on from its journal where it has one."""
        begun: Recording | None = None
        with self._alone(task):
            reader = task.opened.reader
            assert reader is not None
            pace: Pace = "pipe" if reader.piped else "file"
            recording = self._long_form.recording(reader, task.index, pace=pace)
            self._writers[task.index] = writer = self._writer(task)
            parts = []
            if isinstance(writer, FileWriter) and task.file != STDIN:
                journal = self._journals[task.index] = self._journal(task, writer.path)
                replay = journal.read() if self._args.resume else None
                if replay is not None:
                    made = [recording.segmenter.add_block(*block) for block in replay.blocks]
                    parts = [transcript for transcript in made if transcript is not None]
                    take_up(recording, replay)
                    self._messages.warn(f"{task.file}: going on after {replay.seconds:.0f} s")
                journal.begin(replay)
            writer.begin(parts)
            self._tell_skipped(task, parts, done=False)
            begun = recording
        if begun is None:
            task.opened.close()
            self._writers.pop(task.index, None)
            self._advance(task.index)
        return begun

    def _take(self, task: Task, part: Part) -> None:
        """Put out what has become final; where its file cannot be written any more, this input has failed."""
        recording = part.recording
        written = False
        with self._alone(task):
            written = self._write(task, part)
        if not written:
            self._writers.pop(task.index, None)
        if not written or not part.done:
            length = task.opened.seconds
            self._advance(task.index, recording.seconds / length if length and not part.done else float(part.done))
            return
        self.tally.audio_seconds += recording.seconds
        if recording.error is None:
            self.tally.done += 1
        else:
            kept = "" if isinstance(recording.error, AudioTailError) else f" after {recording.seconds:.1f} s"
            self._fail(task.file, recording.error, kept)
        self._advance(task.index)

    def _write(self, task: Task, part: Part) -> bool:
        writer, journal = self._writers.get(task.index), self._journals.get(task.index)
        if writer is None:
            return False
        if part.transcript is not None:
            writer.add(part.transcript)
            self._tell_skipped(task, [part.transcript], done=False)
        if part.done:
            writer.close(part.recording.seconds)
            self._tell_skipped(task, [])
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
        return ConsoleWriter(self._args.format, task.file, print_out)

    def _journal(self, task: Task, path: Path) -> Journal:
        args, files = self._args, self._recognizer.files
        graphs = [files.encoder, files.decoder_joint, files.decoder, files.joiner, files.vocabulary]
        options = ("format", "provider", "precision", "decoder", "weights", "confidence", "channel", "track",
                   "no_second_look")  # fmt: skip
        same = {
            "source": source_identity(Path(task.file)),
            "model": [[str(graph), graph.stat().st_size] for graph in graphs if graph is not None],
            "options": {name: getattr(args, name) for name in options},
            "known": identity(args),
            "plan": str(self._long_form.plan),
            "batches": self._long_form.batches.clips_of(DEFAULT_CHUNK_SECONDS),
        }
        return Journal(journal_path(path), same)

    # --- both -----------------------------------------------------------------------------------------------------

    def _task(self, index: int, file: str) -> Task | None:
        opened = outcome(lambda: self._open(standard_input() if file == STDIN else file), file, "reading")
        if not isinstance(opened, TdtError):
            return Task(index, file, opened)
        self._fail(file, opened)
        self._advance(index)
        return None

    def _open(self, source: Any) -> Opened:
        limit, channel, track = self._long_form.longest_uncut, self._args.channel, self._args.track
        return open_source(source, limit, channel=channel, track=track, wait=False)  # a pipe may be as slow as speech

    def _alone(self, task: Task) -> Alone:
        """Let whatever goes wrong in a block be told as the failure of one input."""
        return Alone(task.file, lambda error: self._fail(task.file, error), _NO_OUTPUT)

    def _fail(self, file: str, error: Exception, kept: str = "") -> None:
        self.tally.failed += 1
        text = str(error)
        self._messages.error((text if file in text else f"{file}: {text}") + kept)

    def _tell_skipped(self, task: Task, parts: Sequence[Transcript], *, done: bool = True) -> None:
        for part in parts:
            self.skipped.add(task.file, part.gaps)
        if done:
            self.skipped.tell(task.file)

    def _advance(self, index: int, share: float = 1.0) -> None:
        before = self._shares.get(index, 0.0)
        self._shares[index] = max(before, min(share, 1.0))
        self._done += self._shares[index] - before
        self._bars("transcribing", self._done, self._inputs)


def journal_path(path: Path) -> Path:
    """Return where the journal of an output file lies while it is under way."""
    return path.with_name(fitting(f".{path.name}", ".journal"))


def load_model(args: argparse.Namespace, **more: Any) -> Recognizer:
    """Load the model that the options of a command name."""
    from tdt.loading import load

    return load(
        args.model,
        provider=args.provider,
        precision=args.precision,
        threads=args.threads,
        decoder=args.decoder,
        weights=args.weights,
        **more,
    )
