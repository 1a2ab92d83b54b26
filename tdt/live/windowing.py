"""From samples to the windows that the encoder gets: NeMo's buffer of left, chunk and right, without its count.

A window holds `[left | chunk | right]`. The first one is full with chunk + right new samples, each later one with chunk
more. When the stream ends, what is not decoded yet is the chunk of the last window, with as much on its left as a full
window has room for. Of the audio, no more is kept than the next window can need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tdt.spec import HOP_SAMPLES, SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from tdt.live.contexts import Contexts
    from tdt.stages import Float32


class Window(NamedTuple):
    """What the encoder hears in one step.

    Parameters
    ----------
    samples : ndarray [shape=(left + chunk + right,)], float32
        16 kHz, its own copy.
    left, chunk : int
        Samples before, and of, what is decoded.
    start : int
        Sample of the stream at which the chunk begins.
    last : bool
        Whether the stream ends with it: the chunk reaches to its end.
    """

    samples: Float32
    left: int
    chunk: int
    start: int
    last: bool

    @property
    def end(self) -> int:
        """Samples of the stream that have been heard with it."""
        return self.start + len(self.samples) - self.left

    @property
    def whole(self) -> bool:
        """Whether it is all of the stream."""
        return self.last and self.start == 0


class WindowBuffer:
    """Collects samples and gives windows.

    Parameters
    ----------
    contexts : Contexts

    Attributes
    ----------
    heard : int
        Samples taken.
    decoded : int
        Samples whose windows have been given.
    ended : bool
        Whether the last sample has come.
    """

    def __init__(self, contexts: Contexts) -> None:
        self._contexts = contexts
        # What a window needs, the chunk before that the last one may reach back over, and what comes at once.
        most = contexts.left_samples + 2 * contexts.chunk_samples + contexts.right_samples + 2 * SAMPLE_RATE_HZ
        self._samples = np.empty(most, np.float32)
        self._first = 0  # sample of the stream at which what is held begins
        self.heard = self.decoded = 0
        self.ended = False

    @property
    def room(self) -> int:
        """Samples missing for the next window; 0 where it is ready."""
        wanted = self.decoded + self._contexts.chunk_samples + self._contexts.right_samples
        return max(0, wanted - self.heard)

    def add(self, samples: Float32) -> None:
        """Take the next samples [shape=(n,)], 16 kHz."""
        held = self.heard - self._first
        if held + len(samples) > len(self._samples):
            grown = np.empty(2 * (held + len(samples)), np.float32)
            grown[:held] = self._samples[:held]
            self._samples = grown
        self._samples[held : held + len(samples)] = samples
        self.heard += len(samples)

    def end(self) -> None:
        """Take note that no more samples come."""
        self.ended = True

    def ready(self) -> bool:
        """Say whether :meth:`peek` has a window."""
        return not self.room or (self.ended and self._last_is_new())

    def peek(self) -> Window | None:
        """Return the next window, or None where there is not enough for one; :meth:`advance` goes past it."""
        contexts = self._contexts
        if not self.room:
            left, chunk = min(contexts.left_samples, self.decoded), contexts.chunk_samples
            return self._window(left, chunk, self.decoded + chunk + contexts.right_samples, last=False)
        if not self.ended or not self._last_is_new():
            return None
        chunk = self.heard - self.decoded
        left = min(self.decoded, contexts.frames * contexts.frame_samples - chunk)
        return self._window(left, chunk, self.heard, last=True)

    def advance(self, window: Window) -> None:
        """Count a window as decoded, and forget what no later one needs."""
        self.decoded = window.start + window.chunk
        # The last window may reach back over a left context and a chunk: it has less than a chunk of new samples.
        needed = self.decoded - self._contexts.left_samples - self._contexts.chunk_samples
        gone = needed - self._first
        if gone > 0:
            held = self.heard - self._first
            self._samples[: held - gone] = self._samples[gone:held].copy()
            self._first = needed

    def _last_is_new(self) -> bool:
        """Say whether the end brings a window of its own.

        It does not where nothing came after the window before, whose right context is then all that remains and has
        been encoded already; nor where there is nothing to make features of.
        """
        if self.decoded and self.heard - self.decoded == self._contexts.right_samples:
            return False
        return self.heard > self.decoded and self.heard >= HOP_SAMPLES

    def _window(self, left: int, chunk: int, end: int, *, last: bool) -> Window:
        first = self.decoded - left - self._first
        return Window(self._samples[first : end - self._first].copy(), left, chunk, self.decoded, last)
