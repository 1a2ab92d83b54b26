"""What users push becomes mono 16 kHz samples: the bits that the whole recording gives, resampled at once."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from tdt.audio import BlockMixer, Resampler

if TYPE_CHECKING:
    from tdt.live.windowing import WindowBuffer
    from tdt.stages import Float32

# Of a long push, a second at a time goes through the resampler and into the window's buffer, which stays small.
_PIECE_SECONDS = 1


class Incoming:
    """Blocks on their way into a stream's buffer.

    Parameters
    ----------
    name : str
        What errors call the stream.
    rate_hz : int
        Of the blocks.
    channel : int, optional
        The channel to take; the mean of all where not given.

    Attributes
    ----------
    samples : int
        Taken so far, at the blocks' own rate.
    """

    def __init__(self, name: str, rate_hz: int, channel: int | None = None) -> None:
        self._mixer = BlockMixer(name, channel)
        self._resampler = Resampler(rate_hz)
        self._rate_hz = rate_hz
        self._waiting: deque[Float32] = deque()
        self._flushed = self._ended = False
        self.samples = 0

    @property
    def seconds(self) -> float:
        """How much has been taken."""
        return self.samples / self._rate_hz

    def offer(self, block: Any) -> None:
        """Keep a block; one that is refused changes nothing.

        Raises
        ------
        AudioValueError, OptionError
            It is no block of audio.
        """
        mono = self._mixer.mono(block)
        self.samples += len(mono)
        if len(mono):
            self._waiting.append(mono)

    def end(self) -> None:
        """Take note that no more blocks come."""
        self._ended = True

    def pump(self, buffer: WindowBuffer) -> None:
        """Move samples into a buffer until it has a window, or nothing is left; at the end, tell it."""
        piece = _PIECE_SECONDS * self._rate_hz
        while self._waiting and buffer.room:
            block = self._waiting.popleft()
            if len(block) > piece:
                self._waiting.appendleft(block[piece:])
            buffer.add(self._resampler.add(block[:piece]))
        if self._ended and not self._waiting and not self._flushed:
            self._flushed = True
            buffer.add(self._resampler.finish())
            buffer.end()
