"""The windows of one stream or many through the stages: one run of the encoder, one of the decoder for what stays.

Nothing is carried but what NeMo carries: the decoder's state and the frames that its last duration jumps over.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from tdt.encoding import pad_short
from tdt.errors import TdtError
from tdt.failures import outcome
from tdt.live.endpoint import first_pause, spoken_until
from tdt.spec import SAMPLE_RATE_HZ
from tdt.stages import DecoderState, Encoded, Hypothesis, in_rows
from tdt.timeline import CALL, NULL, Recorder, Timeline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.live.windowing import Window
    from tdt.protocols import AcousticEncoder, Engine, Extractor
    from tdt.spec import ModelSpec
    from tdt.stages import Float32

NAME = "The live stream"


class Stand(NamedTuple):
    """Where the decoding of a stream stands.

    Parameters
    ----------
    state : DecoderState or None
        None before the first frame.
    spoken_end : int or None
        Frame at which the last token ended; None before any, and after a new start.
    """

    state: DecoderState | None = None
    spoken_end: int | None = None


class Heard(NamedTuple):
    """What a window gave: tokens that stay and where decoding stands then; a draft, and where it would stand then.

    `padded` are the zeros that were put before the samples of a stream shorter than a second.
    """

    spoken: Hypothesis
    stand: Stand
    draft: Hypothesis
    beyond: Stand
    padded: int = 0


class Listener(Protocol):
    """A stream, as far as a step needs it."""

    @property
    def stand(self) -> Stand:
        """Where its decoding stands."""
        ...

    def window(self) -> Window:
        """Return the window that is ready."""
        ...

    def passes(self, window: Window) -> bool:
        """Say whether the window is to be passed over unheard."""
        ...

    def take(self, window: Window, heard: Heard) -> None:
        """Take what it gave."""
        ...

    def fail(self, error: TdtError) -> None:
        """Take note that it gave nothing."""
        ...


class _Rows(NamedTuple):
    """Frames [each shape=(n, D)] of several streams, or [(n, J)] where the encoder has projected them."""

    frames: list[Float32]
    projected: bool


class _Encoded(NamedTuple):
    """Frames of windows, and how many zeros were put before the samples of each."""

    frames: Encoded
    padded: list[int]


class Begun(NamedTuple):
    """Windows of streams, encoded but for those whose result is `given`: those at `places`, or why they are not."""

    listeners: Sequence[Listener]
    windows: Sequence[Window]
    given: dict[int, Heard | TdtError]
    places: Sequence[int]
    encoded: _Encoded | TdtError | None


@dataclass(frozen=True, slots=True)
class Stepper:
    """Takes streams a window further.

    Parameters
    ----------
    spec : ModelSpec
    extractor, encoder, engine
        The stages of the recogniser.
    frame_samples : int
        16 kHz samples of an encoder frame.
    restart_frames : int or None
        After so many frames without a token decoding starts afresh; None keeps the state for ever.
    works_ahead : bool
        Whether the encoder's work leaves this machine's processors free, so that a run of it pays beside decoding.
    """

    spec: ModelSpec
    extractor: Extractor
    encoder: AcousticEncoder
    engine: Engine
    frame_samples: int
    restart_frames: int | None = None
    works_ahead: bool = False

    def advance(self, listeners: Sequence[Listener], timeline: Recorder) -> None:
        """Take streams that have a window each one window further; what goes wrong with one stays with it."""
        with timeline.span(CALL):
            self.complete(self.begin(listeners, timeline), timeline)

    def begin(self, listeners: Sequence[Listener], timeline: Recorder = NULL) -> Begun:
        """Encode the next window of each stream; those of silence are not in the run. May run in another thread."""
        windows = [listener.window() for listener in listeners]
        given: dict[int, Heard | TdtError] = {}
        places: list[int] = []
        for place, (listener, window) in enumerate(zip(listeners, windows, strict=True)):
            passes = outcome(partial(listener.passes, window), NAME)
            if isinstance(passes, TdtError):
                given[place] = passes
            elif passes:
                given[place] = self._passed(window, listener.stand)
            else:
                places.append(place)
        run = [windows[place] for place in places]
        encoded = outcome(lambda: self._encoded(run, timeline), NAME) if run else None
        return Begun(listeners, windows, given, places, encoded)

    def complete(self, begun: Begun, timeline: Recorder = NULL) -> None:
        """Decode what has been encoded, and let each stream take what its window gave."""
        listeners, windows, given, places, encoded = begun
        stands = [listeners[place].stand for place in places]
        run = [windows[place] for place in places]
        heard = [] if encoded is None else self._heard(run, stands, encoded, timeline)
        results = given | dict(zip(places, heard, strict=True))
        with timeline.span("text"):
            for place, (listener, window) in enumerate(zip(listeners, windows, strict=True)):
                result = results[place]
                failed = result if isinstance(result, TdtError) else None
                if not isinstance(result, TdtError):
                    failed = outcome(partial(listener.take, window, result), NAME)
                if failed is not None:
                    listener.fail(failed)
        if isinstance(timeline, Timeline):
            timeline.add_audio(sum(window.chunk for window in windows) / SAMPLE_RATE_HZ)

    def _passed(self, window: Window, stand: Stand) -> Heard:
        """Return what a window gives whose chunk and right context are taken for blanks."""
        chunk = window.chunk // self.frame_samples
        right = (window.end - window.start) // self.frame_samples - chunk
        after = self._gone_on(stand, chunk)
        return Heard(Hypothesis.empty(), after, Hypothesis.empty(), self._gone_on(after, right))

    def _gone_on(self, stand: Stand, frames: int) -> Stand:
        state = stand.state or self._fresh(0)
        end = state.frames_decoded + frames
        if self.restart_frames is not None and first_pause(
            Hypothesis.empty(), stand.spoken_end, end, self.restart_frames
        ):
            return Stand(self._fresh(end))
        return stand._replace(state=replace(state, skip=max(0, state.skip - frames), frames_decoded=end))

    def _heard(
        self, windows: Sequence[Window], stands: Sequence[Stand], encoded: _Encoded | TdtError, timeline: Recorder
    ) -> Sequence[Heard | TdtError]:
        """Return what the window of each stream gives; where the run failed, one by one."""
        made: Sequence[Heard] | TdtError = (
            encoded
            if isinstance(encoded, TdtError)
            else outcome(lambda: self._decoded(windows, stands, encoded, timeline), NAME)
        )
        if not isinstance(made, TdtError):
            return made
        if len(windows) == 1:
            return [made]
        alone: list[Heard | TdtError] = []
        for window, stand in zip(windows, stands, strict=True):
            again = outcome(partial(self._encoded, [window], timeline), NAME)
            alone += self._heard([window], [stand], again, timeline)
        return alone

    def _encoded(self, windows: Sequence[Window], timeline: Recorder) -> _Encoded:
        padded = [pad_short(window.samples) if window.whole else (window.samples, 0) for window in windows]
        features = self.extractor([samples for samples, _ in padded], timeline)
        encoded = self.encoder.encode_for_decoding(features, timeline, on_host=True)
        return _Encoded(encoded, [left for _, left in padded])

    def _decoded(
        self, windows: Sequence[Window], stands: Sequence[Stand], given: _Encoded, timeline: Recorder
    ) -> list[Heard]:
        encoded = given.frames
        projected = encoded.projected is not None
        frames = encoded.projected if projected else encoded.frames
        chunks, rights = [], []
        for window, row, length in zip(windows, frames, encoded.lengths.tolist(), strict=True):
            first = window.left // self.frame_samples
            last = length if window.last else first + window.chunk // self.frame_samples
            chunks.append(row[first:last])
            rights.append(row[last:length])
        spoken = self._decode(_Rows(chunks, projected), stands, timeline)
        drafts = self._decode(_Rows(rights, projected), [stand for _, stand in spoken], timeline)
        return [Heard(*tokens, *draft, left) for tokens, draft, left in zip(spoken, drafts, given.padded, strict=True)]

    def _decode(self, rows: _Rows, stands: Sequence[Stand], timeline: Recorder) -> list[tuple[Hypothesis, Stand]]:
        """Decode the next frames of each stream, afresh after each long pause.

        A pause is seen when what follows it has been decoded with the old state: those frames are then decoded again,
        from the one at which the pause has lasted long enough. So it does not matter where chunks end.
        """
        spoken: list[list[Hypothesis]] = [[] for _ in rows.frames]
        standing = list(stands)
        waiting = {place: row for place, row in enumerate(rows.frames) if len(row)}
        while waiting:
            places, waiting = list(waiting.items()), {}
            parts, states = self._run(
                _Rows([row for _, row in places], rows.projected),
                [standing[place].state for place, _ in places],
                timeline,
            )
            for (place, row), tokens, state in zip(places, parts, states, strict=True):
                end, before = state.frames_decoded, standing[place].spoken_end
                pause = None if self.restart_frames is None else first_pause(tokens, before, end, self.restart_frames)
                if pause is None:
                    spoken[place].append(tokens)
                    standing[place] = Stand(state, spoken_until(tokens, before))
                    continue
                spoken[place].append(tokens.part(0, pause.tokens))
                standing[place] = Stand(self._fresh(pause.frame))
                if end > pause.frame:
                    waiting[place] = row[len(row) - (end - pause.frame) :]
        return [(Hypothesis.concatenate(parts), stand) for parts, stand in zip(spoken, standing, strict=True)]

    def _run(
        self, rows: _Rows, states: Sequence[DecoderState | None], timeline: Recorder
    ) -> tuple[list[Hypothesis], list[DecoderState]]:
        """Decode the next frames of each; the joint's projection is made of no others."""
        lengths = np.array([len(row) for row in rows.frames], np.int64)
        frames = in_rows(rows.frames)
        encoded = Encoded(None, lengths, frames) if rows.projected else Encoded(frames, lengths)  # type: ignore[arg-type]
        return self.engine.decode(encoded, list(states), timeline)

    def _fresh(self, frame: int) -> DecoderState:
        zeros = np.zeros((self.spec.predictor_layers, self.spec.predictor_hidden), np.float32)
        return DecoderState(self.spec.blank_id, zeros, zeros.copy(), 0, frame)
