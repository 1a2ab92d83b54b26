"""The recogniser: stage by stage for those who embed it, or from files to transcripts in one call."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, cast, overload

from tdt.checks import WHOLE, one_of, whole_number
from tdt.errors import OptionError, TdtError, TranscriptionError
from tdt.lifetime import Lifetime
from tdt.listening import Listening
from tdt.longform import CutOptions
from tdt.pipeline import in_order
from tdt.reading import Reading, fusion_of, reading_of, several, sources_of
from tdt.spec import SAMPLE_RATE_HZ
from tdt.stagewise import StageByStage
from tdt.streaming import stream_parts
from tdt.timeline import NULL, Recorder, Timeline, as_recorder, call_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from tdt.longform import LongForm
    from tdt.options import Errors, FusionOptions, StreamOptions, TranscribeOptions
    from tdt.pipeline import Result, Stages
    from tdt.protocols import Node
    from tdt.reading import AudioSource
    from tdt.scheduled import Scheduled
    from tdt.spec import ModelFiles
    from tdt.text import Segment, Transcript

T = TypeVar("T")
_END = object()


class Recognizer(StageByStage, Listening):
    """A loaded model; made by :func:`tdt.load`.

    Any number of threads may use it, with equal results; another process may not. It is a context manager.

    Parameters
    ----------
    files : ModelFiles
        Where the model lies.
    stages : Stages
        Its parts.
    """

    def __init__(self, files: ModelFiles, stages: Stages) -> None:
        self.files = files
        self.spec = stages.spec
        self._stages = stages
        self._lifetime = Lifetime(stages.close)

    @overload
    def transcribe(  # type: ignore[overload-overlap]  # a str is an iterable of str, and one clip
        self, audio: AudioSource, **options: Unpack[TranscribeOptions]
    ) -> Transcript: ...
    @overload
    def transcribe(self, audio: Iterable[AudioSource], **options: Unpack[TranscribeOptions]) -> list[Any]: ...
    def transcribe(
        self,
        audio: AudioSource | Iterable[AudioSource],
        *,
        sample_rate: int | None = None,
        channel: int | None = None,
        track: int | None = None,
        batch_size: int | None = None,
        chunk_seconds: float | None = None,
        context_seconds: float | None = None,
        max_memory_bytes: int | None = None,
        second_look: bool = True,
        errors: Errors = "raise",
        progress: Callable[[int, int], object] | None = None,
        timeline: bool | Recorder = False,
        **fusion: Unpack[FusionOptions],
    ) -> Result | list[Any]:
        """Transcribe one clip, or several in batches; whatever is longer than a window is cut by itself.

        Parameters
        ----------
        audio : source or iterable of sources
            A path, bytes, file object or array [n] or [n, channels] gives one transcript; a list, tuple or generator of
            them gives a list.
        sample_rate, channel, track : int, optional
            Rate of arrays in Hz, 16000 by default; which channel to take, the mean of all by default; which audio track
            of a file, from 0, by default the first that is marked as default, else the first.
        batch_size : int, optional
            Clips to a batch; by default up to 8, on a card 32, fewer where they are long.
        chunk_seconds, context_seconds : float, optional
            Longest window, a minute by default where model, provider and memory allow it; shorter audio is not cut.
            Audio heard on each side of a cut through speech, 2 by default.
        max_memory_bytes : int, optional
            For the encoder's activations: fewer and shorter windows share a run where it is small.
        second_look : bool
            Decode speech of a second or more that holds no token again, with other cuts. Words that are found are put
            in, what stays empty is in the transcript's `gaps`.
        errors : {"raise", "return"}
            In a list, whether an error is raised once all others are done, or stands in its place in the list.
        progress : callable, optional
            Called with the number of clips done and the number of all, after each.
        timeline : bool or Recorder
            Record where the time goes: True puts a :class:`~tdt.timeline.Timeline` of the call into each transcript.
        **fusion
            `phrases`, `lm`, `lm_weight`, `beam`, `script` and `allowed` as in :meth:`decode_piece`; `phrases` may be a
            list with those of each clip, or None for one.

        Returns
        -------
        Transcript, or list of Transcript (and, with ``errors="return"``, of TdtError)

        Raises
        ------
        AudioError
            In its kinds, where the one clip cannot be transcribed.
        TranscriptionError
            Where clips of a list failed; its `results` hold everything.

        Examples
        --------
        >>> import numpy as np, tdt
        >>> tdt.load().transcribe(np.zeros(16000, np.float32)).text
        ''
        """
        one_of("errors", errors, ("raise", "return"))
        if progress is not None and not callable(progress):
            raise OptionError("progress", progress, "a function of two numbers, or None")
        made = (Timeline() if timeline else NULL) if isinstance(timeline, bool) else timeline
        recorder = as_recorder("timeline", made)
        cutting = CutOptions(chunk_seconds, context_seconds, max_memory_bytes)
        reading = Reading(sample_rate, channel, batch_size, cutting, track, second_look)
        stages = self._stages.guided(fusion)
        long_form = stages.long_form(reading)
        sources, one = sources_of(audio)
        stages = stages.counted(len(sources))
        results: list[Any] = [None] * len(sources)
        finished = stages.results(sources, reading, long_form, recorder)
        with self._lifetime.use(), call_of(recorder):
            for done, (index, result) in enumerate(finished, start=1):
                results[index] = result
                if progress is not None:
                    progress(done, len(sources))
        failed = next((result for result in results if isinstance(result, TdtError)), None)
        if failed is not None and errors == "raise":
            raise failed if one else TranscriptionError(results)
        return results[0] if one else results

    def transcribe_each(self, audio: Iterable[AudioSource], **options: Unpack[StreamOptions]) -> Iterator[Result]:
        """Yield the result of each clip in order, as soon as it and all before it are done; clips are taken as it goes.

        Parameters
        ----------
        audio : iterable of sources
        **options
            `sample_rate`, `channel`, `track`, `batch_size`, `chunk_seconds`, `context_seconds`, `max_memory_bytes`,
            `second_look`, `phrases`, `lm`, `lm_weight`, `beam`, `script`, `allowed` as in :meth:`transcribe`;
            `timeline`, a Recorder.

        Yields
        ------
        Transcript or TdtError
        """
        reading, timeline = reading_of(options)
        stages = self._stages.guided(fusion_of(options))
        results = stages.results(several(audio), reading, stages.long_form(reading), timeline)
        return self._in_use(in_order(results), timeline)

    def stream(self, audio: AudioSource | Iterable[Any], **options: Unpack[StreamOptions]) -> Iterator[Segment]:
        """Yield the segments of one recording of any length, each as soon as nothing that follows can change it.

        Parameters
        ----------
        audio : source as in :meth:`transcribe`, or an iterable of arrays, a recording that may be still going on
        **options : as in :meth:`transcribe_each`.

        Yields
        ------
        Segment
            In long audio also before a pause of two seconds, and after half a minute without a full stop.

        Raises
        ------
        AudioError
            In its kinds; AudioTailError where the recording breaks off, after all segments before.
        """
        reading, timeline = reading_of(options)
        stages = self._stages.guided(fusion_of(options)).counted(1)
        parts = stream_parts(stages, stages.long_form(reading), audio, reading, timeline)
        return self._in_use((segment for part in parts for segment in part.segments), timeline)

    def _in_use(self, items: Generator[T, None, None], timeline: Recorder) -> Iterator[T]:
        """Yield items; the work for each is a call of the timeline, and the time that its user takes is none."""
        with self._lifetime.use(), closing(items):
            while True:
                with call_of(timeline):
                    item = next(items, _END)
                if item is _END:
                    return
                yield cast("T", item)

    def long_form(self, *, jobs: int = 1, **options: Unpack[StreamOptions]) -> LongForm:
        """Return the pipeline for long recordings; `jobs` of them share their batches."""
        stages = self._stages.guided(fusion_of(options)).counted(1)
        return stages.long_form(reading_of(options)[0], whole_number("jobs", jobs, *WHOLE["jobs"]))

    def scheduled(self, batch_size: int) -> Scheduled:
        """Return the work in steps for a scheduler such as :class:`tdt.serving.Engine`; a batch has so many at most."""
        from tdt.scheduled import Scheduled

        with self._lifetime.use():
            return Scheduled(self._stages, self._lifetime, whole_number("batch_size", batch_size, *WHOLE["batch_size"]))

    def warmup(self) -> None:
        """Run every stage once on a second of silence, so that the first call pays for nothing."""
        import numpy as np

        silence = np.zeros(SAMPLE_RATE_HZ, np.float32)
        self.decode(self.encode(self.features(silence)))
        with self._lifetime.use():
            self._stages.encoder.batching()

    def placement(self) -> list[Node]:
        """Return which execution provider runs which node of the encoder, as the runtime assigned it."""
        with self._lifetime.use():
            return self._stages.encoder.placement()

    def close(self) -> None:
        """Release the sessions; calls that still run in other threads are finished first."""
        self._lifetime.close()
