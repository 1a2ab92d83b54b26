"""From encoded windows to one stream of tokens: decoding that goes on over the cuts, many recordings in lockstep."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tdt.longform.seams import join
from tdt.stages import DecoderState, Encoded, Hypothesis, in_rows
from tdt.timeline import NULL, Recorder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.longform.chunking import Window
    from tdt.protocols import Engine
    from tdt.spec import ModelSpec
    from tdt.stages import Float32


class Frames(NamedTuple):
    """Encoder frames [shape=(T', D)], float32; or `projected` ones [shape=(T', J)], where the encoder has done that."""

    values: Float32
    projected: bool = False


class EncodedWindow(NamedTuple):
    """A window and its frames; all windows of a call have them projected, or none has."""

    window: Window
    frames: Frames


@dataclass(slots=True)
class Thread:
    """Where the decoding of one recording stands.

    Parameters
    ----------
    state : DecoderState or None
        At frame `back` of the last window.
    after : DecoderState or None
        At its frame `ahead`, with the tail told.
    tail : Hypothesis
        What the last window says from `back` to `ahead`; part of it may yet go to the next window.
    last : Window or None
        The last window.
    """

    state: DecoderState | None = None
    after: DecoderState | None = None
    tail: Hypothesis | None = None
    last: Window | None = None


def afresh(spec: ModelSpec, frame: int) -> DecoderState:
    """Return the state of a decoder that begins at a frame of the recording."""
    zeros = np.zeros((spec.predictor_layers, spec.predictor_hidden), np.float32)
    return DecoderState(spec.blank_id, zeros, zeros.copy(), 0, frame)


class Stitcher:
    """Decodes windows in the order of their recordings.

    Parameters
    ----------
    engine : Engine
    spec : ModelSpec
    """

    def __init__(self, engine: Engine, spec: ModelSpec) -> None:
        self._engine = engine
        self._spec = spec

    def step(
        self, threads: Sequence[Thread], windows: Sequence[EncodedWindow], timeline: Recorder = NULL
    ) -> list[Hypothesis]:
        """Decode the next window of each recording; return the tokens of each that are final now.

        Parameters
        ----------
        threads : sequence of Thread
            One a recording; brought up to date.
        windows : sequence of EncodedWindow
            The next window of each.
        timeline : Recorder, optional

        Returns
        -------
        list of Hypothesis
            Frames count from the start of the recording.
        """
        starts = [self._start(thread, window) for thread, window in zip(threads, windows, strict=True)]
        backs = [item.window.back for item in windows]
        states = [self._state(thread, item.window) for thread, item in zip(threads, windows, strict=True)]
        spoken, states = self._decode(windows, starts, backs, states, timeline)
        aheads = [item.window.ahead for item in windows]
        if any(back < ahead for back, ahead in zip(backs, aheads, strict=True)):
            tails, afters = self._decode(windows, backs, aheads, states, timeline)
        else:
            tails, afters = [Hypothesis.empty() for _ in windows], states
        final = []
        decoded = zip(threads, windows, spoken, tails, states, afters, strict=True)
        for thread, item, hypothesis, tail, state, after in decoded:
            final.append(in_order(self._taken_over(thread, item.window, hypothesis)))
            thread.state, thread.after, thread.tail, thread.last = state, after, tail, item.window
        return final

    @staticmethod
    def flush(thread: Thread) -> Hypothesis:
        """Return the tokens that still waited for a window to come."""
        tail, thread.tail = thread.tail, None
        return Hypothesis.empty() if tail is None else tail

    def _start(self, thread: Thread, item: EncodedWindow) -> int:
        return thread.last.back if item.window.link == "joined" and thread.last is not None else item.window.first

    def _state(self, thread: Thread, window: Window) -> DecoderState:
        if thread.state is not None and window.link == "joined":
            return thread.state
        if thread.after is not None and thread.last is not None and window.link == "carried":
            # What the last token jumps over may reach beyond the pause.
            over = thread.last.ahead + thread.after.skip - window.first
            return replace(thread.after, skip=max(0, over), frames_decoded=window.first)
        return afresh(self._spec, window.first)

    def _decode(
        self,
        windows: Sequence[EncodedWindow],
        firsts: Sequence[int],
        lasts: Sequence[int],
        states: Sequence[DecoderState],
        timeline: Recorder,
    ) -> tuple[list[Hypothesis], list[DecoderState]]:
        """Decode frames `first` to `last` (counted from the recording's start) of each window."""
        parts = [
            item.frames.values[first - item.window.begin : last - item.window.begin]
            for item, first, last in zip(windows, firsts, lasts, strict=True)
        ]
        lengths = np.array([len(part) for part in parts], np.int64)
        frames = in_rows(parts)
        projected = windows[0].frames.projected
        encoded = Encoded(None, lengths, frames) if projected else Encoded(frames, lengths)  # type: ignore[arg-type]
        return self._engine.decode(encoded, list(states), timeline)

    @staticmethod
    def _taken_over(thread: Thread, window: Window, later: Hypothesis) -> list[Hypothesis]:
        """Return the end of the window before and the start of this one, joined where they agree."""
        if thread.tail is None or thread.last is None:
            return [later]
        if window.link != "joined":
            return [thread.tail, later]
        common = int(np.searchsorted(later.frames, thread.last.ahead))
        seam = join(
            thread.tail.token_ids.tolist(),
            thread.tail.frames.tolist(),
            later.token_ids[:common].tolist(),
            later.frames[:common].tolist(),
            thread.last.last,
        )
        return [thread.tail.part(0, seam.keep), later.part(seam.drop, len(later))]


def in_order(parts: Sequence[Hypothesis]) -> Hypothesis:
    """Return the tokens of all; where two windows heard a token at different frames, time still never runs back."""
    joined = Hypothesis.concatenate(parts)
    frames = np.maximum.accumulate(joined.frames) if len(joined) else joined.frames
    durations = joined.durations.copy()
    if len(joined) > 1:
        durations[:-1] = np.minimum(durations[:-1], np.diff(frames))
    return replace(joined, frames=frames, durations=durations)
