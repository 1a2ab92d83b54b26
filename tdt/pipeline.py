"""Many clips through all stages: read ahead, batch those of like length, keep one failure from costing another."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from tdt.errors import AudioTailError, OptionError, TdtError
from tdt.lifetime import Bound, Origin
from tdt.longform import (
    BATCH_SIZE,
    DEFAULT_CUT,
    WINDOW_SECONDS,
    CutOptions,
    batch_for_memory,
    make_plan,
    plan_batches,
    provider_seconds,
    window_size,
)
from tdt.options import ReadOptions, StreamOptions
from tdt.spec import SAMPLE_RATE_HZ
from tdt.text import Confidence, Transcript, build
from tdt.timeline import NULL, Recorder, Timeline

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np
    import numpy.typing as npt

    from tdt.audio import BlockReader, Opened
    from tdt.longform import LongForm
    from tdt.protocols import AcousticEncoder, Engine, Extractor
    from tdt.spec import ModelSpec
    from tdt.stages import Float32

    AudioSource: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO | npt.NDArray[np.generic]

Result: TypeAlias = Transcript | TdtError


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip that has been read: its place in the input, mono 16 kHz samples, its length, and where it broke off."""

    index: int
    samples: Float32
    seconds: float
    problem: AudioTailError | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """How sources become samples, and how many share a run (see :meth:`tdt.Recognizer.transcribe`).

    Raises
    ------
    OptionError
        Where the batch size is no positive whole number.
    """

    sample_rate: int | None = None
    channel: int | None = None
    batch_size: int | None = None
    cutting: CutOptions = DEFAULT_CUT
    track: int | None = None

    def __post_init__(self) -> None:
        size = self.batch_size
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise OptionError("batch_size", size, "a whole number from 1 on, or None")

    def samples(self, source: Any, timeline: Recorder) -> tuple[Float32, float]:
        """Return mono 16 kHz samples and the clip's length in seconds.

        Raises
        ------
        AudioError
            In its kinds.
        """
        from tdt.audio import load_audio

        if isinstance(source, os.PathLike):
            source = Path(source)
        audio = load_audio(
            source, sample_rate=self.sample_rate, channel=self.channel, track=self.track, timeline=timeline
        )
        return audio.samples, audio.seconds

    def open(self, source: Any, limit_samples: int, *, wait: bool = True) -> Opened:
        """Open a source; one that is open already is handed back. `wait`: see :func:`~tdt.audio.open_source`.

        Raises
        ------
        AudioError
            In its kinds.
        """
        from tdt.audio import Opened, open_source

        if isinstance(source, Opened):
            return source
        return open_source(
            source,
            limit_samples,
            sample_rate=self.sample_rate,
            channel=self.channel,
            track=self.track,
            wait=wait,
        )


@dataclass(frozen=True, slots=True)
class Stages(Bound):
    """The parts of a recogniser, connected."""

    spec: ModelSpec
    extractor: Extractor
    encoder: AcousticEncoder
    engine: Engine
    confidence: Confidence = "entropy"
    origin: Origin = field(default_factory=Origin, repr=False, compare=False)

    def results(
        self, sources: Iterable[AudioSource], reading: Reading, timeline: Recorder = NULL
    ) -> Iterator[tuple[int, Result]]:
        """Transcribe clips in windows, in batches of like length.

        Parameters
        ----------
        sources : iterable
            Taken from as the work goes on.
        reading : Reading
        timeline : Recorder, optional

        Yields
        ------
        tuple of int and (Transcript or TdtError)
            Place in the input and result of a clip, as soon as it is done.
        """
        long_form = self.long_form(reading)
        clips: list[Clip] = []
        for index, source in enumerate(sources):
            try:
                with timeline.span("read"):
                    opened = reading.open(source, long_form.longest_uncut)
                if opened.long and opened.reader is not None:
                    yield index, self._long(long_form, opened.reader, timeline)
                    continue
                audio, problem = opened.load(timeline)
            except TdtError as error:
                yield index, error
                continue
            clips.append(Clip(index, audio.samples, audio.seconds, problem))
            full = len(clips) >= window_size(long_form.batch_size)
            if full or sum(clip.seconds for clip in clips) >= WINDOW_SECONDS:
                yield from self._window(clips, long_form.batch_size, timeline)
                clips = []
        yield from self._window(clips, long_form.batch_size, timeline)

    def long_form(self, reading: Reading, jobs: int = 1) -> LongForm:
        """Return the pipeline for what is longer than a window; `jobs` recordings share its batches.

        Raises
        ------
        OptionError
            A window or context that cannot be used.
        """
        from tdt.longform import LongForm

        plan = make_plan(self.spec, reading.cutting, provider_seconds(self.encoder))
        batch_size, memory = reading.batch_size, reading.cutting.max_memory_bytes
        if memory is not None:
            most = batch_for_memory(self.spec, plan.chunk * self.spec.frame_seconds, memory)
            batch_size = min(batch_size or BATCH_SIZE, most)
        return LongForm(
            self.spec,
            self.extractor,
            self.encoder,
            self.engine,
            plan,
            self.confidence,
            batch_size,
            jobs,
            self.origin,
        )

    def _long(self, long_form: LongForm, reader: BlockReader, timeline: Recorder) -> Result:
        """Transcribe a long recording as a whole; where it breaks off, the error carries what was recognised."""
        from tdt.text import merged

        recording = long_form.recording(reader)
        parts = [part.transcript for part in long_form.run([recording], timeline) if part.transcript is not None]
        transcript = merged(parts, recording.seconds)
        if isinstance(timeline, Timeline):
            timeline.add_audio(recording.seconds)
        error = recording.error
        if isinstance(error, AudioTailError):
            error.partial = transcript
        if error is not None:
            return error
        return replace(transcript, timeline=timeline) if isinstance(timeline, Timeline) else transcript

    def close(self) -> None:
        """Release the sessions."""
        self.engine.close()
        self.encoder.close()

    def _window(
        self, clips: Sequence[Clip], batch_size: int | None, timeline: Recorder
    ) -> Iterator[tuple[int, Result]]:
        for batch in plan_batches([clip.seconds for clip in clips], batch_size):
            members = [clips[place] for place in batch]
            for clip, result in zip(members, self._batch(members, timeline), strict=True):
                if clip.problem is None or isinstance(result, TdtError):
                    yield clip.index, result
                    continue
                clip.problem.partial = result
                yield clip.index, clip.problem

    def _batch(self, clips: Sequence[Clip], timeline: Recorder) -> list[Result]:
        """Transcribe clips together; where that fails, one by one, so that one costs no other its result."""
        try:
            return list(self._run(clips, timeline))
        except TdtError as error:
            if len(clips) == 1:
                return [error]
            return [result for clip in clips for result in self._batch([clip], timeline)]

    def _run(self, clips: Sequence[Clip], timeline: Recorder) -> list[Transcript]:
        from tdt.encoding import pad_short

        padded = [pad_short(clip.samples) for clip in clips]
        features = self.extractor([samples for samples, _ in padded], timeline)
        encoded = self.encoder.encode_for_decoding(features, timeline)
        hypotheses, _ = self.engine.decode(encoded, None, timeline)
        with timeline.span("text"):
            transcripts = [
                build(
                    hypothesis,
                    self.spec,
                    audio_seconds=clip.seconds,
                    confidence=self.confidence,
                    left_pad=left_pad / SAMPLE_RATE_HZ,
                    clamp=len(samples) != len(clip.samples),
                )
                for hypothesis, clip, (samples, left_pad) in zip(hypotheses, clips, padded, strict=True)
            ]
        if isinstance(timeline, Timeline):
            timeline.add_audio(sum(clip.seconds for clip in clips))
            return [replace(transcript, timeline=timeline) for transcript in transcripts]
        return transcripts


def reading_of(options: StreamOptions) -> tuple[Reading, Recorder]:
    """Return how the options of a call say that audio is read, and the call's recorder."""
    cutting = CutOptions(options.get("chunk_seconds"), options.get("context_seconds"), options.get("max_memory_bytes"))
    reading = Reading(
        options.get("sample_rate"), options.get("channel"), options.get("batch_size"), cutting, options.get("track")
    )
    unknown = set(options) - StreamOptions.__annotations__.keys() - ReadOptions.__annotations__.keys()
    if unknown:
        raise TypeError(f"unexpected keyword argument {sorted(unknown)[0]!r}")
    return reading, options.get("timeline", NULL)


def is_one(audio: object) -> bool:
    """Say whether this is one clip rather than an iterable of clips."""
    import numpy as np

    single = (str, os.PathLike, bytes, bytearray, memoryview, np.ndarray)
    array_or_file = hasattr(audio, "__dlpack__") or hasattr(audio, "read")
    return isinstance(audio, single) or array_or_file or not hasattr(audio, "__iter__")
