"""Many clips through all stages: read ahead, batch those of like length, keep one failure from costing another."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from tdt.ahead import in_stages
from tdt.clips import Clip, texts
from tdt.decoding import GuidedEngine
from tdt.errors import AudioTailError, DeviceMemoryError, TdtError
from tdt.failures import outcome
from tdt.lifetime import Bound, Origin
from tdt.longform import (
    WINDOW_SECONDS,
    batch_rule,
    card_bytes,
    make_plan,
    plan_batches,
    provider_seconds,
    window_size,
)
from tdt.measuring import check_beam
from tdt.reading import label
from tdt.text import ConfidenceLike, Transcript
from tdt.timeline import NULL, Recorder, Timeline

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

    from tdt.audio import BlockReader, Opened
    from tdt.longform import LongForm
    from tdt.protocols import AcousticEncoder, Engine, Extractor
    from tdt.reading import AudioSource, Reading
    from tdt.spec import ModelSpec
    from tdt.stages import Encoded, Features, Hypothesis

Result: TypeAlias = Transcript | TdtError

_log = logging.getLogger("tdt")


class _Batch(NamedTuple):
    """Clips on their way together: what the last stage has made of them, or why it failed."""

    clips: Sequence[Clip]
    made: Any = None


@dataclass(frozen=True, slots=True)
class Stages(Bound):
    """The parts of a recogniser, connected.

    Parameters
    ----------
    spec : ModelSpec
    extractor, encoder, engine
        The stages.
    confidence : {"entropy", "max_prob"} or Confidence
    works_ahead : bool
        Whether features and encoder of the next batches of clips run while one is decoded, each in a thread of its own.
        It keeps a card busy; on the CPU the encoder has all cores anyway, and batches would only take memory.
    origin : Origin, optional
        Where the stages were made; they run nowhere else.
    """

    spec: ModelSpec
    extractor: Extractor
    encoder: AcousticEncoder
    engine: Engine
    confidence: ConfidenceLike = "entropy"
    works_ahead: bool = False
    origin: Origin = field(default_factory=Origin, repr=False, compare=False)

    def guided(self, options: Mapping[str, Any]) -> Stages:
        """Return the stages with what a call knows beside the sound; themselves where that is nothing.

        Raises
        ------
        OptionError
            Where an option has no usable value, or the engine does not take it.
        """
        wanted = {name: value for name, value in options.items() if value is not None}
        if not wanted:
            return self
        from tdt.fusion import fusion_plan

        plan = fusion_plan(wanted, self.spec)
        if plan is None:
            return self
        check_beam(self.confidence, plan.beam)
        return replace(self, engine=GuidedEngine(self.engine, plan, self.spec))

    def counted(self, clips: int) -> Stages:
        """Return the stages for a call of so many clips; phrases given by clip for another number are refused."""
        if not isinstance(self.engine, GuidedEngine):
            return self
        self.engine.plan.check_count(clips)
        return replace(self, engine=self.engine.at([0])) if clips == 1 else self

    def _engine_at(self, places: Sequence[int]) -> Engine:
        """Return the engine for the clips at these places of the call."""
        return self.engine.at(places) if isinstance(self.engine, GuidedEngine) else self.engine

    def results(
        self,
        sources: Iterable[AudioSource | Opened],
        reading: Reading,
        long_form: LongForm,
        timeline: Recorder = NULL,
    ) -> Iterator[tuple[int, Result]]:
        """Transcribe clips in windows, in batches of like length.

        Parameters
        ----------
        sources : iterable
            Taken from as the work goes on. Where it raises, what came before is done first.
        reading : Reading
        long_form : LongForm
            For what is longer than a window, see :meth:`long_form`.
        timeline : Recorder, optional

        Yields
        ------
        tuple of int and (Transcript or TdtError)
            Place in the input and result of a clip, as soon as it is done.
        """
        clips: list[Clip] = []
        waiting = enumerate(sources)
        while True:
            try:
                index, source = next(waiting)
            except StopIteration:
                break
            except Exception:  # the caller's own, raised to the caller
                yield from self._window(clips, long_form, timeline)
                raise
            read = self._read(index, source, reading, long_form, timeline)
            if not isinstance(read, Clip):
                yield index, read
                continue
            clips.append(read)
            full = len(clips) >= window_size(long_form.batches)
            if full or sum(clip.seconds for clip in clips) >= WINDOW_SECONDS:
                yield from self._window(clips, long_form, timeline)
                clips = []
        yield from self._window(clips, long_form, timeline)

    def _read(
        self, index: int, source: AudioSource | Opened, reading: Reading, long_form: LongForm, timeline: Recorder
    ) -> Clip | Result:
        """Return a clip, or the result of what is longer than a window or cannot be read."""
        name = label(source)
        with timeline.span("read"):
            opened = outcome(lambda: reading.open(source, long_form.longest_uncut), name, "reading")
        if isinstance(opened, TdtError):
            return opened
        reader = opened.reader
        if opened.long and reader is not None:
            whole = replace(long_form, engine=self._engine_at([index]))
            return outcome(lambda: self._long(whole, reader, timeline), name)
        loaded = outcome(lambda: opened.load(timeline), name, "reading")
        if isinstance(loaded, TdtError):
            return loaded
        audio, problem = loaded
        return Clip(index, name, audio.samples, audio.seconds, problem)

    def long_form(self, reading: Reading, jobs: int = 1) -> LongForm:
        """Return the pipeline for what is longer than a window; `jobs` recordings share its batches.

        Raises
        ------
        ForkError
            In a process that was forked from the one that loaded the model; before anything is imported here.
        OptionError
            A window or context that cannot be used.
        """
        self.origin.require()
        from tdt.longform import LongForm

        room = card_bytes(self.encoder)
        plan = make_plan(self.spec, reading.cutting, provider_seconds(self.encoder), room)
        seconds = plan.chunk * self.spec.frame_seconds
        rule = batch_rule(self.spec, seconds, reading.batch_size, reading.cutting.max_memory_bytes, room)
        return LongForm(
            self.spec,
            self.extractor,
            self.encoder,
            self.engine,
            plan,
            self.confidence,
            rule,
            jobs,
            self.works_ahead,
            reading.second_look,
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

    def _window(self, clips: Sequence[Clip], long_form: LongForm, timeline: Recorder) -> Iterator[tuple[int, Result]]:
        planned = plan_batches([clip.seconds for clip in clips], long_form.batches)
        batches = [[clips[place] for place in batch] for batch in planned]
        with closing(self._encoded(batches, timeline)) as encoded:
            for members, results in map(partial(self._finished, long_form=long_form, timeline=timeline), encoded):
                for clip, result in zip(members, results, strict=True):
                    if clip.problem is None or isinstance(result, TdtError):
                        yield clip.index, result
                        continue
                    clip.problem.partial = result
                    yield clip.index, clip.problem

    def _encoded(self, batches: Sequence[Sequence[Clip]], timeline: Recorder) -> Generator[_Batch, None, None]:
        """Yield batches through features and encoder; on a card with the next ones under way meanwhile."""
        features, encode = (partial(self._tried, step, timeline=timeline) for step in (self._features, self._encode))
        # A profile runs the stages one after another, so that their times add up.
        if self.works_ahead and timeline is NULL and len(batches) > 1:
            yield from in_stages(map(features, map(_Batch, batches)), encode)
        else:
            yield from map(encode, map(features, map(_Batch, batches)))

    def _finished(
        self, batch: _Batch, long_form: LongForm, timeline: Recorder
    ) -> tuple[Sequence[Clip], Sequence[Result]]:
        """Decode a batch; where any stage failed, go through its clips one by one: one costs no other its result."""
        clips, done = batch.clips, self._tried(partial(self._decode, long_form), batch, timeline).made
        if not isinstance(done, TdtError):
            return clips, done
        if len(clips) == 1:
            return clips, [done]
        if isinstance(done, DeviceMemoryError):
            _log.warning("%d clips do not fit the card at once, now one by one: %s", len(clips), done)
        singles: list[Result] = []
        for clip in clips:
            single = self._tried(self._encode, self._tried(self._features, _Batch([clip]), timeline), timeline)
            singles += self._finished(single, long_form, timeline)[1]
        return clips, singles

    @staticmethod
    def _tried(step: Callable[[_Batch, Recorder], Any], batch: _Batch, timeline: Recorder) -> _Batch:
        """Take a batch one step further, unless a step has failed."""
        if isinstance(batch.made, TdtError):
            return batch
        return batch._replace(made=outcome(lambda: step(batch, timeline), batch.clips[0].name))

    def _features(self, batch: _Batch, timeline: Recorder) -> Features:
        from tdt.encoding import pad_short

        return self.extractor([pad_short(clip.samples)[0] for clip in batch.clips], timeline)

    def _encode(self, batch: _Batch, timeline: Recorder) -> Encoded:
        return self.encoder.encode_for_decoding(batch.made, timeline)

    def transcripts(
        self,
        clips: Sequence[Clip],
        hypotheses: Sequence[Hypothesis],
        long_form: LongForm,
        engine_at: Callable[[int], Engine],
        timeline: Recorder = NULL,
    ) -> list[Transcript]:
        """Return the transcripts of whole clips, once skipped speech was decoded again by the engine of its clip."""
        looked = [
            long_form.look_again(partial(engine_at, place), clip.samples, tokens, clip.name, timeline)
            for place, (clip, tokens) in enumerate(zip(clips, hypotheses, strict=True))
        ]
        with timeline.span("text"):
            made = texts(clips, [tokens for tokens, _ in looked], self.spec, self.confidence)
            return [one.with_gaps(gaps, self.spec) for one, (_, gaps) in zip(made, looked, strict=True)]

    def _decode(self, long_form: LongForm, batch: _Batch, timeline: Recorder) -> list[Transcript]:
        places = [clip.index for clip in batch.clips]
        hypotheses, _ = self._engine_at(places).decode(batch.made, None, timeline)
        transcripts = self.transcripts(
            batch.clips, hypotheses, long_form, lambda place: self._engine_at([places[place]]), timeline
        )
        if isinstance(timeline, Timeline):
            timeline.add_audio(sum(clip.seconds for clip in batch.clips))
            return [replace(transcript, timeline=timeline) for transcript in transcripts]
        return transcripts


def in_order(results: Iterable[tuple[int, Result]]) -> Generator[Result, None, None]:
    """Yield results in the order of the inputs, each as soon as it and all before it are there."""
    waiting: dict[int, Result] = {}
    following = 0
    for index, result in results:
        waiting[index] = result
        while following in waiting:
            yield waiting.pop(following)
            following += 1
