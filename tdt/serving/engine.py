"""The engine room: many callers share one model; what they get is what :meth:`tdt.Recognizer.transcribe` gives.

Threads read audio and make features, one worker a device runs the encoder, a decoder works beside it. Knows no HTTP: an
asyncio program uses it as it is.
"""

from __future__ import annotations

import asyncio
import io
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypedDict, Unpack

from tdt.errors import RequestTimeoutError, SelfCheckError, ServerClosedError, TdtError
from tdt.lifetime import Bound
from tdt.scheduled import NOTHING, Known
from tdt.serving.admission import Admission
from tdt.serving.jobs import LongJob, Source, binary, prepared
from tdt.serving.live_room import LiveSessions
from tdt.serving.metrics import Metrics
from tdt.serving.runs import Entry, Runs
from tdt.serving.settings import Settings
from tdt.text import Transcript, merged

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable

    from tdt.recognizer import Recognizer
    from tdt.serving.device import Device

_CLIP = Path(__file__).parents[1] / "models" / "recordings" / "15_hello_world.flac"
_DRAIN_STEP_SECONDS = 0.01


class AskOptions(TypedDict, total=False):
    """What a caller says about its sound."""

    phrases: Any
    channel: int | None
    track: int | None
    name: str


class Engine(Bound):
    """Transcribes for many callers at a time; an asynchronous context manager.

    Parameters
    ----------
    recognizer : Recognizer
        Stays open until the engine is closed.
    settings : Settings, optional

    Attributes
    ----------
    recognizer, settings
        As given.
    metrics : Metrics
    admission : Admission
        Permits for requests, and keys.
    live : LiveSessions
        Those who speak while they are listened to.

    Examples
    --------
    >>> import asyncio, tdt
    >>> from tdt.serving import Engine
    >>> async def hear(sound: bytes) -> str:
    ...     async with Engine(tdt.load()) as engine:
    ...         return (await engine.transcribe(sound)).text
    """

    def __init__(self, recognizer: Recognizer, settings: Settings | None = None) -> None:
        self.recognizer = recognizer
        self.settings = Settings() if settings is None else settings
        self.metrics = Metrics()
        self.admission = Admission(self.settings, self.metrics)
        self.live = LiveSessions(self)
        self._open = ExitStack()
        self._runs: Runs | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Warm up, transcribe a bundled clip, and take requests from then on.

        Raises
        ------
        SelfCheckError
            What the clip gives here is not what it gives by :meth:`tdt.Recognizer.transcribe`.
        TdtError
            In its kinds: the provider does not run, the recogniser has been closed.
        """
        settings, recognizer = self.settings, self.recognizer
        with ExitStack() as opened:
            scheduled = recognizer.scheduled(settings.max_batch)
            opened.enter_context(scheduled.lifetime.use())
            self._scheduled = scheduled
            self._readers = opened.enter_context(ThreadPoolExecutor(settings.readers, "tdt-serving-reader"))
            # Recordings of hours are under way together, each in turn; more than a batch of them gains nothing.
            self._long = opened.enter_context(ThreadPoolExecutor(settings.max_batch, "tdt-serving-long"))
            self._runs = Runs(scheduled, settings.collect_ms / 1000, self.metrics)
            opened.callback(self._runs.close)
            await asyncio.to_thread(recognizer.warmup)
            await asyncio.to_thread(self._check_itself)
            self._open = opened.pop_all()
        self.admission.closed = False

    async def close(self, *, drain: bool = True) -> None:
        """Take no more requests, let those under way be done, and release all but the recogniser.

        Parameters
        ----------
        drain : bool
            Whether to wait for the requests; without, they end with an error.
        """
        self.admission.closed = True
        while drain and self.admission.under_way:
            await asyncio.sleep(_DRAIN_STEP_SECONDS)
        await asyncio.to_thread(self._open.close)

    @property
    def device(self) -> Device:
        """The one worker of the device, for jobs of one's own: ``await engine.device.run(job, live=True)``.

        Raises
        ------
        ServerClosedError
            The engine has not been started.
        """
        return self._room.device

    @property
    def healthy(self) -> bool:
        """Whether requests are taken."""
        return not self.admission.closed and self._room.device.is_alive()

    async def transcribe(self, data: bytes | BinaryIO, **ask: Unpack[AskOptions]) -> Transcript:
        """Transcribe one recording, short or long; cancelled, it frees its place at once.

        Parameters
        ----------
        data : bytes or binary file object
            Encoded sound. A file object is read by other threads until this returns.
        **ask
            `phrases` as in :meth:`tdt.Recognizer.decode_piece`; `channel` and `track` as in
            :meth:`tdt.Recognizer.transcribe`; `name`, what errors call it.

        Raises
        ------
        AudioError
            In its kinds.
        QueueFullError
            As many as :attr:`Settings.queue` are under way.
        RecordingTooLongError, RequestTimeoutError, ServerClosedError
            The bounds of the settings; the engine is closing.
        DeviceMemoryError
            Half a batch does not fit the card either.
        """
        found, seconds = await collected(self.parts(data, **ask))
        return found[0] if len(found) == 1 and found[0].audio_seconds == seconds else merged(found, seconds)

    async def stream(self, data: bytes | BinaryIO, **ask: Unpack[AskOptions]) -> AsyncIterator[Transcript]:
        """Yield what becomes final of a recording, in order; what is not longer than a window is one part.

        Parameters, errors: as :meth:`transcribe`. An error comes after the parts before it.
        """
        async with aclosing(self.parts(data, **ask)) as parts:
            async for part, _ in parts:
                if part is not None:
                    yield part

    async def parts(
        self, data: bytes | BinaryIO, **ask: Unpack[AskOptions]
    ) -> AsyncGenerator[tuple[Transcript | None, float]]:
        """Yield what becomes final of a recording, perhaps nothing, with the seconds that are done.

        Parameters, errors: as :meth:`transcribe`.
        """
        source = Source(binary(data), ask.get("channel"), ask.get("track"), ask.get("name", "the recording"))
        known = Known(ask.get("phrases"))
        self._scheduled_or_refuse().check(known)
        begun = time.monotonic()
        deadline = asyncio.get_running_loop().time() + self.settings.timeout
        threads: list[Future[Any]] = []
        done = False
        try:
            with self.admission.permit():
                most = self.settings.max_seconds
                reading = self._started(threads, self._readers, prepared, self._scheduled, source, known, most)
                entry = await self._within(deadline, reading)
                self.metrics.observe("tdt_stage_seconds", time.monotonic() - begun, "read")
                if isinstance(entry, Entry):
                    transcript = await self._decoded(deadline, entry)
                    yield transcript, transcript.audio_seconds
                else:
                    async for part in self._long_parts(deadline, entry, threads):
                        yield part
                done = True
        except TdtError:
            done = True
            raise
        finally:
            if not done:
                self.metrics.add("tdt_abandoned_total")
            self.metrics.observe("tdt_stage_seconds", time.monotonic() - begun, "request")
            source.gone = True
            await _at_rest(threads)

    # --- within ---------------------------------------------------------------------------------------------------

    @property
    def _room(self) -> Runs:
        if self._runs is None:
            raise ServerClosedError
        return self._runs

    async def _decoded(self, deadline: float, entry: Entry) -> Transcript:
        """Let an entry wait for its run; return its transcript."""
        assert entry.clip is not None
        self._room.add(entry)
        transcript: Transcript = await self._within(deadline, asyncio.wrap_future(entry.future))
        self.metrics.add("tdt_audio_seconds_total", entry.clip.seconds)
        if entry.clip.problem is not None:
            entry.clip.problem.partial = transcript
            raise entry.clip.problem
        return transcript

    async def _long_parts(
        self, deadline: float, job: LongJob, threads: list[Future[Any]]
    ) -> AsyncGenerator[tuple[Transcript | None, float]]:
        """Yield the parts of a long recording from the thread that runs it."""
        loop = asyncio.get_running_loop()
        line: asyncio.Queue[Any] = asyncio.Queue()
        shared = job.share(self._room)
        running = self._started(
            threads, self._long, job.run, lambda item: loop.call_soon_threadsafe(line.put_nowait, item)
        )
        before = 0.0
        try:
            while (item := await self._within(deadline, line.get())) is not None:
                part, seconds = item
                self.metrics.add("tdt_audio_seconds_total", seconds - before)
                before = seconds
                yield part, seconds
            await running
        finally:
            shared.abandon()

    @staticmethod
    def _started(threads: list[Future[Any]], pool: ThreadPoolExecutor, work: Any, *given: Any) -> asyncio.Future[Any]:
        """Run a function in a pool, and note it."""
        threads.append(pool.submit(work, *given))
        return asyncio.wrap_future(threads[-1])

    async def _within(self, deadline: float, awaited: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout_at(deadline):
                return await awaited
        except TimeoutError as error:
            if isinstance(error, TdtError):
                raise
            self.metrics.add("tdt_abandoned_total")
            raise RequestTimeoutError(self.settings.timeout) from None

    def _scheduled_or_refuse(self) -> Any:
        if self.admission.closed:
            raise ServerClosedError
        return self._scheduled

    def _check_itself(self) -> None:
        """Hold what a bundled clip gives here against what it gives by the recogniser."""
        clip = _CLIP.read_bytes()
        alone = self.recognizer.transcribe(clip)
        pair = [prepared(self._scheduled, Source(io.BytesIO(clip), None, None, "the clip"), NOTHING) for _ in range(2)]
        entries = [entry for entry in pair if isinstance(entry, Entry)]
        self._room.add(*entries)
        for entry in entries:
            found = entry.future.result()
            if found.text != alone.text:
                raise SelfCheckError(alone.text, found.text)


async def collected(parts: AsyncGenerator[tuple[Transcript | None, float]]) -> tuple[list[Transcript], float]:
    """Return all that :meth:`Engine.parts` yields of a recording, and how many seconds it has."""
    found: list[Transcript] = []
    seconds = 0.0
    async with aclosing(parts):
        async for part, seconds in parts:  # noqa: B007  the last says how long it is
            if part is not None:
                found.append(part)
    return found, seconds


async def _at_rest(threads: list[Future[Any]]) -> None:
    """Wait until no thread reads the data any more; what has not begun never will."""
    for thread in threads:
        if not thread.cancel() and not thread.done():
            await asyncio.gather(asyncio.wrap_future(thread), return_exceptions=True)
