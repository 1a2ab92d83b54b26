"""One who speaks to the server: samples in, what becomes known out; both wait in bounded memory."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

import numpy as np

from tdt.errors import TdtError

if TYPE_CHECKING:
    from typing import Self

    from tdt.live import Contexts, LiveStream, Setup, Update
    from tdt.stages import Float32
    from tdt.text import Transcript

# Of what one says, so much waits for the model at most; then nothing more is read from it.
WAITING_SECONDS = 10.0
# One who does not read what was said to it is not listened to either, from so many updates on.
_MOST_UNREAD = 64
# The resampler holds a little back: where a window is not complete when it should be, it is asked again after this.
LITTLE_SECONDS = 0.02


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


class Piece(NamedTuple):
    """What a stream takes in a step: samples up to its next window, and whether that is the end."""

    samples: Float32 | None
    ends: bool


class Sessions(Protocol):
    """Those who speak, as far as one of them needs it."""

    def count(self, session: LiveSession, step: int) -> None:
        """Take note that a session has begun (1) or is over (-1)."""
        ...

    def wake(self, session: LiveSession) -> None:
        """Take note that a session has a window, or its end."""
        ...


class LiveSession:
    """One who speaks; an asynchronous context manager.

    One task says what comes (:meth:`hear`, :meth:`end`), another one waits for what becomes known (:meth:`said`).

    Parameters
    ----------
    sessions : Sessions
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

    def __init__(self, sessions: Sessions, setup: Setup, protocol: str) -> None:
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
            self._next = ready if ready > self._taken else self._taken + self._samples(LITTLE_SECONDS)
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
