"""Everybody who speaks to the server shares one lockstep: streams join it and leave it.

Belongs to the event loop; only steps run elsewhere, on the device's worker, before all that is not live.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeAlias

from tdt.errors import QueueFullError, ServerClosedError, TdtError
from tdt.failures import outcome
from tdt.live import LiveRoom, LiveStream
from tdt.serving.live_session import LITTLE_SECONDS, LiveSession

if TYPE_CHECKING:
    from tdt.live import Setup, Update
    from tdt.recognizer import Recognizer
    from tdt.serving.admission import Admission
    from tdt.serving.device import Device
    from tdt.serving.live_session import LiveAsk, Piece
    from tdt.serving.metrics import Metrics
    from tdt.serving.settings import Settings

MOST_SESSIONS = 4096
DRAIN_SECONDS = 10.0
_RETRY_SECONDS = 10
_NAME = "The live step"
Answers: TypeAlias = "dict[LiveSession, list[Update] | TdtError]"


class Room(Protocol):
    """What is needed of an engine."""

    recognizer: Recognizer
    settings: Settings
    metrics: Metrics
    admission: Admission

    @property
    def device(self) -> Device:
        """The worker of the device."""
        ...


class LiveSessions:
    """Those who speak, and the lockstep that they share.

    Parameters
    ----------
    engine : Room
        An :class:`tdt.serving.Engine`, started before the first of them speaks.
    """

    def __init__(self, engine: Room) -> None:
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
                    await asyncio.sleep(LITTLE_SECONDS)

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

    async def _answers(self, given: dict[LiveSession, Piece]) -> Answers:
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

    def _step(self, given: dict[LiveSession, Piece]) -> Answers:
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
