"""One live stream: samples in, updates out. It has no microphone, no clock and no thread of its own."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tdt.errors import StreamBusyError, StreamFinishedError
from tdt.lifetime import Closing
from tdt.live.resampling import Incoming
from tdt.live.settling import Settler
from tdt.live.states import Course, Event, State
from tdt.live.steps import NAME, Heard, Stand
from tdt.live.telling import Teller
from tdt.live.windowing import WindowBuffer
from tdt.spec import SAMPLE_RATE_HZ
from tdt.stages import Hypothesis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tdt.errors import TdtError
    from tdt.lifetime import Lifetime
    from tdt.live.contexts import Contexts
    from tdt.live.endpoint import EndRule
    from tdt.live.gate import SpeechGate
    from tdt.live.steps import Stepper
    from tdt.live.updates import Update
    from tdt.live.windowing import Window
    from tdt.spec import ModelSpec
    from tdt.text import ConfidenceLike, Detokenizer, Transcript
    from tdt.timeline import Recorder

# Of so many steps the tokens are joined to one array each.
_JOINED_STEPS = 256


@dataclass(frozen=True, slots=True)
class Setup:
    """What streams of one kind share.

    Parameters
    ----------
    spec : ModelSpec
    pieces : Detokenizer
        Of its vocabulary.
    stepper : Stepper
        Runs the stages.
    contexts : Contexts
    rules : sequence of EndRule
        What closes an utterance.
    rate_hz : int
        Of what is pushed.
    channel : int or None
        Which one is taken of several; None for their mean.
    confidence : {"entropy", "max_prob"} or Confidence
    lifetime : Lifetime
        The recogniser's.
    timeline : Recorder
    gate : callable or None
        Makes what says whether a window is silence; None where every window is heard.
    """

    spec: ModelSpec
    pieces: Detokenizer
    stepper: Stepper
    contexts: Contexts
    rules: Sequence[EndRule]
    rate_hz: int
    channel: int | None
    confidence: ConfidenceLike
    lifetime: Lifetime
    timeline: Recorder
    gate: Callable[[], SpeechGate] | None = None


class LiveStream(Closing):
    """Recognition while people speak; made by :meth:`tdt.Recognizer.live`.

    Audio is pushed in blocks of any length, and each push returns what has become known with it. Time is counted in
    samples: nothing depends on when, or in what pieces, they come. One thread at a time may use a stream; each thread
    may have its own, of one recogniser. It is a context manager.

    A block that is refused changes nothing, and the stream goes on. Where a run of the model fails, the stream has
    failed for good: the call returns what had become known before, or raises the error where that is nothing, and each
    later call raises it again.

    Attributes
    ----------
    setup : Setup
        What it shares with other streams of its kind.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self._buffer = WindowBuffer(setup.contexts)
        self._incoming = Incoming(NAME, setup.rate_hz, setup.channel)
        self._course = Course()
        self._settler = Settler(setup.pieces, setup.rules)
        self._teller = Teller(setup.spec, setup.confidence, self._course)
        self._gate = None if setup.gate is None else setup.gate()
        self._spoken: list[Hypothesis] = []
        self._draft, self._beyond = Hypothesis.empty(), Stand()
        self._ended = False
        self._updates: list[Update] = []
        self._lock = threading.Lock()
        self.stand = Stand()

    # --- for those who speak ----------------------------------------------------------------------------------------

    def push(self, block: Any) -> list[Update]:
        """Take the next block of audio; return what has become known, in order.

        Parameters
        ----------
        block : array [shape=(n,) or (n, channels)], int16, float32 or float64
            At the stream's rate. It is copied.

        Raises
        ------
        AudioValueError
            It is no such array, or holds NaN, infinite or huge samples; nothing of it is taken.
        StreamFinishedError, StreamBusyError
            After :meth:`finish`; while another thread is in a call.
        ClosedError
            The recogniser has been closed.
        TdtError
            A run failed, now or before.
        """
        with self.turn(), self.setup.lifetime.use():
            self.offer(block)
            self._work()
            return self.told()

    def finish(self) -> list[Update]:
        """Decode what remains and close the running utterance; return what has become known. A second time: nothing.

        Raises
        ------
        StreamBusyError, ClosedError, TdtError
            As :meth:`push` does.
        """
        with self.turn(), self.setup.lifetime.use():
            self.end()
            self._work()
            self.conclude()
            return self.told()

    @property
    def hypothesis(self) -> Hypothesis:
        """All tokens so far that stay, those of a word that is not complete included; frames count from the start."""
        return Hypothesis.concatenate(list(self._spoken))

    @property
    def transcript(self) -> Transcript:
        """The transcript of :attr:`hypothesis`; times count from the start of the stream."""
        return self._teller.transcript(self.hypothesis, self._incoming.seconds)

    @property
    def state(self) -> State:
        """Where the stream stands: open, in speech, finished, failed."""
        return self._course.state

    @property
    def contexts(self) -> Contexts:
        """What a window is made of, in encoder frames."""
        return self.setup.contexts

    @property
    def decoded_seconds(self) -> float:
        """How much has been decoded for good; it grows by a chunk with each step."""
        return self._buffer.decoded / SAMPLE_RATE_HZ

    @property
    def audio_seconds(self) -> float:
        """How much has been pushed."""
        return self._incoming.seconds

    def close(self) -> None:
        """Let the rest go: what is not decoded stays so. Nothing is raised, whatever the state."""
        self._ended = True
        if self._course.state not in {State.FINISHED, State.FAILED}:
            self._course.go(Event.FINISH)

    # --- for lockstep: a push is these in a loop ----------------------------------------------------------------------

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Let no other thread in while the block runs.

        Raises
        ------
        StreamBusyError
            One is in already.
        """
        if not self._lock.acquire(blocking=False):
            raise StreamBusyError
        try:
            yield
        finally:
            self._lock.release()

    def offer(self, block: Any) -> None:
        """Store a block; one that is refused changes nothing."""
        self._course.check(Event.PUSH)
        if self._ended:  # a finish was broken off
            raise StreamFinishedError
        self._incoming.offer(block)
        self._course.go(Event.PUSH)

    def end(self) -> None:
        """Store that nothing follows."""
        self._course.check(Event.FINISH)
        self._ended = True
        self._incoming.end()

    def ready(self) -> bool:
        """Say whether there is a window to take."""
        if self._course.state in {State.FINISHED, State.FAILED}:
            return False
        self._incoming.pump(self._buffer)
        return self._buffer.ready()

    def window(self) -> Window:
        """Return the window that is ready."""
        window = self._buffer.peek()
        assert window is not None
        return window

    def passes(self, window: Window) -> bool:
        """Say whether the window is silence, which the encoder need not hear."""
        return self._gate is not None and self._gate.is_silent(window)

    def take(self, window: Window, heard: Heard) -> None:
        """Take what the window gave."""
        self._buffer.advance(window)
        self._teller.left_pad = heard.padded / SAMPLE_RATE_HZ
        self.stand, self._draft, self._beyond = heard.stand, heard.draft, heard.beyond
        state = heard.beyond.state
        self._settle(heard.spoken, heard.draft, 0 if state is None else state.frames_decoded, window.end)

    def fail(self, error: TdtError) -> None:
        """Take note that a run failed."""
        self._course.fail(error)

    def conclude(self) -> None:
        """Close what is running, once no window is left; what had been a draft is all that remains, and stays."""
        if self._course.state in {State.FINISHED, State.FAILED}:
            return
        rest, self._draft, self.stand = self._draft, Hypothesis.empty(), self._beyond
        state = self._beyond.state
        heard_frames = 0 if state is None else state.frames_decoded
        self._settle(rest, self._draft, heard_frames, self._buffer.heard, done=True)
        self._course.go(Event.FINISH)

    def told(self) -> list[Update]:
        """Return the updates that nobody has had yet; where there are none and a run failed, raise why."""
        updates, self._updates = self._updates, []
        if not updates and self._course.error is not None:
            raise self._course.error
        return updates

    def _work(self) -> None:
        while self.ready():
            self.setup.stepper.advance([self], self.setup.timeline)

    def _settle(
        self, spoken: Hypothesis, draft: Hypothesis, heard_frames: int, heard_samples: int, *, done: bool = False
    ) -> None:
        closed = self._settler.add(spoken, draft, heard_frames)
        if done:
            closed += self._settler.finish()
        if len(spoken) or spoken.steps is not None:
            self._spoken.append(spoken)
        if len(self._spoken) >= _JOINED_STEPS:
            self._spoken = [Hypothesis.concatenate(self._spoken)]
        seconds = heard_samples / SAMPLE_RATE_HZ
        self._updates += self._teller.tell(closed, self._settler.running(), seconds)
