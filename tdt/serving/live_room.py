"""Everybody who speaks to the server shares one lockstep: streams join it and leave it, and wait in bounded memory.

Belongs to the event loop; only steps run elsewhere, on the device's worker, before all that is not live.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from tdt.errors import QueueFullError, ServerClosedError, TdtError
from tdt.failures import outcome
from tdt.live import LiveRoom, LiveStream, Setup, Update

if TYPE_CHECKING:
    from typing import Self

    from tdt.live import Contexts
    from tdt.serving.engine import Engine
    from tdt.stages import Float32
    from tdt.text import Transcript

MOST_SESSIONS = 4096
# Of what one says, so much waits for the model at most; then nothing more is read from it.
WAITING_SECONDS = 10.0
# One who does not read what was said to it is not listened to either, from so many updates on.
_MOST_UNREAD = 64
_RETRY_SECONDS = 10
DRAIN_SECONDS = 10.0
# The resampler holds a little back: where a window is not complete when it should be, it is asked again after this.
_LITTLE_SECONDS = 0.02
_NAME = "The live step"


@dataclass(frozen=True, slots=True)
class LiveAsk:
    """What somebody says before speaking.

    Parameters
    ----------
    rate : int
        Samples a second.
    format : {"pcm16", "float32"}
    channels : int
        Interleaved; their mean is heard.
    latency : {4, 2, 1}
        As in :meth:`tdt.Recognizer.live`.
    phrases : tuple of str
        That are likely to be said.
    """

    rate: int = 16_000
    format: str = "pcm16"
    channels: int = 1
    latency: int = 2
    phrases: tuple[str, ...] = ()


class Progress(NamedTuple):
    """How far a stream is.

    Parameters
    ----------
    audio_seconds : float
        Taken by the model, of what has come.
    decoded_seconds : float
        Decoded for good.
    step_seconds : float
        From the arrival of the last sample that the step needed to its end: waiting and computing.
    """

    audio_seconds: float
    decoded_seconds: float
    step_seconds: float


Said: TypeAlias = "Update | Progress | TdtError"


class LiveSessions:
    """Those who speak, and the lockstep that they share.

    Parameters
    ----------
    engine : Engine
        Started before the first of them speaks.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._room = LiveRoom(engine.settings.max_batch)
        self._setups: dict[int, Setup] = {}
        self._due: dict[LiveSession, None] = {}
        self._left: list[LiveStream] = []
        self._pump: asyncio.Task[None] | None = None
        self._closed = False
        self.sessions: set[LiveSession] = set()

    async def join(self, ask: LiveAsk, protocol: str) -> LiveSession:
        """Return a session, which leaves at the end of its `with`. Nothing is kept for it until it speaks.

        Raises
        ------
        OptionError
            The model cannot do what is asked for.
        QueueFullError, ServerClosedError
        """
        if self._closed or self._engine.admission.closed:
            raise ServerClosedError
        if len(self.sessions) >= MOST_SESSIONS:
            raise QueueFullError(MOST_SESSIONS, _RETRY_SECONDS)
        setup = replace(await self._setup(ask), rate_hz=ask.rate)
        return LiveSession(self, setup, protocol)

    async def drain(self, seconds: float = DRAIN_SECONDS) -> None:
        """Let nobody begin, end all who speak, and wait so long at most until they have been told the rest."""
        self._closed = True
        for session in self.sessions:
            session.end()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.sessions:
                    await asyncio.sleep(_LITTLE_SECONDS)

    @property
    def closed(self) -> bool:
        """Whether nobody may begin any more."""
        return self._closed

    async def _setup(self, ask: LiveAsk) -> Setup:
        """Return what streams of this kind share; with phrases it is made for one alone, by a thread."""
        live = self._engine.recognizer.live
        if ask.phrases:
            made = await asyncio.to_thread(partial(live, latency=ask.latency, phrases=list(ask.phrases)))
            return made.setup
        if ask.latency not in self._setups:
            self._setups[ask.latency] = (await asyncio.to_thread(partial(live, latency=ask.latency))).setup
        return self._setups[ask.latency]

    # --- for sessions -------------------------------------------------------------------------------------------------

    def count(self, session: LiveSession, step: int) -> None:
        """Take note that a session has begun (1) or is over (-1)."""
        (self.sessions.add if step > 0 else self.sessions.discard)(session)
        self._engine.metrics.add("tdt_live_streams", step, session.protocol)
        if step < 0:
            self._due.pop(session, None)
            if session.stream is not None:
                self._left.append(session.stream)
            if self._pump is None:  # else when the step is over: the room belongs to it meanwhile
                self._let_go()

    def wake(self, session: LiveSession) -> None:
        """Take note that a session has a window, or its end."""
        self._due[session] = None
        if self._pump is None:
            self._pump = asyncio.create_task(self._work())

    async def _work(self) -> None:
        """Run steps as long as somebody has a window; all who have one share it."""
        loop = asyncio.get_running_loop()
        try:
            while self._due:
                given = {session: session.piece() for session in self._due}
                self._due.clear()
                answers = await self._answers(given)
                now = loop.time()
                for session in given:
                    session.answered(answers[session], now)
                    if session not in self.sessions and session.stream is not None:  # made for one who had gone
                        self._left.append(session.stream)
                self._let_go()
                await asyncio.sleep(0)  # let those who have been answered be read before the next step
        finally:
            self._pump = None
            self._let_go()

    def _let_go(self) -> None:
        for stream in self._left:
            self._room.leave(stream)
        self._left.clear()

    async def _answers(self, given: dict[LiveSession, Piece]) -> dict[LiveSession, list[Update] | TdtError]:
        try:
            answers = await self._engine.device.run(partial(outcome, partial(self._step, given), _NAME), live=True)
        except (ServerClosedError, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            answers = ServerClosedError()  # the device has been closed with the step in its line
        if isinstance(answers, TdtError):
            return dict.fromkeys(given, answers)
        return answers

    def _step(self, given: dict[LiveSession, Piece]) -> dict[LiveSession, list[Update] | TdtError]:
        """Take the pieces; on the device's worker."""
        blocks, ending = {}, []
        for session, (samples, ends) in given.items():
            if session.stream is None:
                session.stream = self._room.join(LiveStream(session.setup))
            if samples is not None:
                blocks[session.stream] = samples
            if ends:
                ending.append(session.stream)
        self._engine.metrics.observe("tdt_live_batch_size", len(given))
        heard = sum(
            len(samples) / session.setup.rate_hz for session, (samples, _) in given.items() if samples is not None
        )
        self._engine.metrics.add("tdt_live_audio_seconds_total", heard)
        answers = self._room.step(blocks, ending)
        return {session: answers[session.stream] for session in given if session.stream is not None}


class Piece(NamedTuple):
    """What a stream takes in a step: samples up to its next window, and whether that is the end."""

    samples: Float32 | None
    ends: bool


class LiveSession:
    """One who speaks; an asynchronous context manager.

    One task says what comes (:meth:`hear`, :meth:`end`), another one waits for what becomes known (:meth:`said`).

    Parameters
    ----------
    sessions : LiveSessions
    setup : Setup
    protocol : str
        For the counters.

    Attributes
    ----------
    stream : LiveStream or None
        None until something was said.
    gone : bool
        Whether nobody is there any more.
    failure : TdtError or None
        Why the stream is over, where it did not end as it should.
    """

    def __init__(self, sessions: LiveSessions, setup: Setup, protocol: str) -> None:
        self._sessions, self.setup, self.protocol = sessions, setup, protocol
        self.stream: LiveStream | None = None
        self.failure: TdtError | None = None
        self.gone = False
        self._waiting: deque[Float32] = deque()
        self._waiting_samples = self._taken = 0
        self._next = self._samples(self.contexts.latency_seconds)  # samples with which there is a window
        self._due_since: float | None = None
        self._ending = self._in_step = self._over = False
        self._said: list[Said] = []
        self._space, self._news = asyncio.Event(), asyncio.Event()

    async def __aenter__(self) -> Self:
        self._sessions.count(self, 1)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.leave()
        self._sessions.count(self, -1)

    @property
    def contexts(self) -> Contexts:
        """What a window is made of."""
        return self.setup.contexts

    @property
    def transcript(self) -> Transcript | None:
        """All that was said, once it is over; None where nothing was."""
        return None if self.stream is None else self.stream.transcript

    async def hear(self, samples: Float32) -> None:
        """Take samples [shape=(n,)]; waits while too many wait already. After the end they are dropped."""
        if self._ending:
            return
        self._waiting.append(samples)
        self._waiting_samples += len(samples)
        self._look()
        while self._waiting_samples > self._samples(WAITING_SECONDS) and not (self.gone or self._over):
            self._space.clear()
            await self._space.wait()

    def end(self) -> None:
        """Take note that nothing follows."""
        self._ending = True
        self._look()

    def tell(self, error: TdtError) -> None:
        """Put a problem among what is said; the stream goes on."""
        self._said.append(error)
        self._news.set()

    def leave(self) -> None:
        """Take note that nobody is there any more."""
        self.gone = True
        self._waiting.clear()
        self._waiting_samples = 0
        self._space.set()
        self._news.set()

    async def said(self) -> list[Said]:
        """Wait for what becomes known, and return it; an empty list when all has been said, or nobody is there."""
        while not self._said and not (self._over or self.gone):
            self._news.clear()
            await self._news.wait()
        said, self._said = self._said, []
        self._look()
        return said

    # --- for the lockstep ---------------------------------------------------------------------------------------------

    def piece(self) -> Piece:
        """Return what the step takes: no more than completes a window, so that no step is long."""
        wanted, blocks = max(1, self._next - self._taken), []
        while self._waiting and wanted > 0:
            block = self._waiting.popleft()
            if len(block) > wanted:
                self._waiting.appendleft(block[wanted:])
                block = block[:wanted]
            blocks.append(block)
            wanted -= len(block)
        samples = np.concatenate(blocks) if blocks else None
        count = 0 if samples is None else len(samples)
        self._taken += count
        self._waiting_samples -= count
        self._in_step = True
        self._space.set()
        return Piece(samples, self._ending and not self._waiting)

    def answered(self, answer: list[Update] | TdtError, now: float) -> None:
        """Take what a step gave."""
        self._in_step = False
        if isinstance(answer, TdtError):
            self._said.append(answer)
            self.failure, self._over = answer, True
        else:
            self._said += answer
            assert self.stream is not None
            decoded = self.stream.decoded_seconds
            since = now if self._due_since is None else self._due_since
            self._said.append(Progress(self.stream.audio_seconds, decoded, now - since))
            self._over = self.stream.state == "finished"
            ready = self._samples(decoded + self.contexts.latency_seconds)
            self._next = ready if ready > self._taken else self._taken + self._samples(_LITTLE_SECONDS)
        self._due_since = None
        self._space.set()
        self._news.set()
        self._look()

    def _look(self) -> None:
        """Ask for a step where there is a window, or the end."""
        if self._in_step or self._over or self.gone:
            return
        if not (self._ending or self._taken + self._waiting_samples >= self._next):
            return
        if self._due_since is None:
            self._due_since = asyncio.get_running_loop().time()
        if len(self._said) < _MOST_UNREAD:
            self._sessions.wake(self)

    def _samples(self, seconds: float) -> int:
        return math.ceil(seconds * self.setup.rate_hz)
