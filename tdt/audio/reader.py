"""Audio of any length as a stream of 16 kHz mono blocks, never whole in memory."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from tdt.audio.arrays import as_array, checked_rate, frames_of, to_float32
from tdt.audio.clip import as_audio
from tdt.audio.decoders import open_sound
from tdt.audio.ending import BreakOffError
from tdt.audio.mixing import Mixer
from tdt.audio.parts import Part, cut, open_part
from tdt.audio.resampling import Resampler, resampled_length
from tdt.audio.sound import MAX_BLOCK_VALUES, Block
from tdt.audio.sources import Encoded, name_of, open_bytes
from tdt.checks import whole_option
from tdt.errors import AudioReadError, AudioTailError, AudioTooShortError, AudioValueError
from tdt.failures import typed
from tdt.spec import SAMPLE_RATE_HZ
from tdt.timeline import NULL

if TYPE_CHECKING:
    import numpy.typing as npt

    from tdt.audio.clip import Audio
    from tdt.timeline import Recorder

    Float32 = npt.NDArray[np.float32]

# Writers to pipes start slowly, and on a busy machine those of a file stand still for a while. To wait costs no word
# its time: the speech detector decides nothing before it has heard 8 s.
_START_SECONDS = 2.0
# Arrays are taken in pieces of this size, so that a float64 copy of hours is never made.
_ARRAY_VALUES = MAX_BLOCK_VALUES


class BlockReader:
    """Blocks of a source, mixed to one channel and resampled to 16 kHz as they are read.

    Iterating gives float32 arrays of at most about ten seconds. What was read before a source breaks off is always
    given first; then :class:`~tdt.errors.AudioTailError` is raised, which names the second it happened at.

    Parameters
    ----------
    source : path, bytes, binary file object, array, or iterable of arrays
        Encoded sound is streamed. A pipe that carries WAV, AU, or FLAC of unknown length is read as it comes; other
        formats on a pipe are read to their end first, into a temporary file where they are large.
        Arrays are [n] or [n, channels] of int16, float32 or float64.
    sample_rate : int, optional
        Rate of arrays in Hz; 16000 where not given. Files know theirs.
    channel : int, optional
        The channel to take, from 0. None takes the mean of all.
    track : int, optional
        The audio track of a file to take, from 0. None takes the default one.
    part : Part, optional
        Which part of it to give.
    name : str, optional
        What errors call it.

    Attributes
    ----------
    seconds : float or None
        Length that the source claims, for progress and planning only; None where it does not say.
    samples_read : int
        16 kHz samples given so far.
    piped : bool
        Whether the sound comes from a pipe as it is written there.
    """

    def __init__(
        self,
        source: Any,
        *,
        sample_rate: int | None = None,
        channel: int | None = None,
        track: int | None = None,
        part: Part | None = None,
        name: str | None = None,
    ) -> None:
        self.name = name_of(source) if name is None else name
        self.samples_read = 0
        self.seconds: float | None = None
        self.piped = self._sought = False
        self._held: deque[tuple[int, Float32]] = deque()
        self._problem: AudioReadError | None = None
        self._close = ExitStack()
        self._closed = False
        self._reading = threading.Lock()
        mixer = Mixer(self.name, channel)
        rate_hz, track = checked_rate(sample_rate), whole_option("track", track)
        array = as_array(source)
        if array is not None:
            self.seconds = len(array) / rate_hz if array.ndim else None
            blocks = _array_blocks(array, rate_hz, self.name)
        elif _is_encoded(source):
            blocks = self._open(source, track, mixer, part)
        elif isinstance(source, Iterable):
            blocks = _iterable_blocks(source, rate_hz, self.name)
        else:
            raise AudioValueError(
                f"Audio of type {type(source).__name__} cannot be read; expected a path, bytes, a binary file object, "
                "an array, or an iterable of arrays."
            )
        if part is not None and not part.whole:
            if not self._sought:
                blocks = cut(blocks, part)
            self.seconds = part.seconds
        self._mono = _mono(blocks, mixer, self.name)

    def _open(self, source: Any, track: int | None, mixer: Mixer, part: Part | None) -> Iterator[Block]:
        try:
            encoded = open_bytes(source, self.name)
            self._close.callback(encoded.close)
            if part is not None and not part.whole and not track and isinstance(encoded, Encoded):
                blocks = self._close.enter_context(open_part(encoded, part))
                if blocks is not None:
                    self._sought = True
                    return blocks
            sound = self._close.enter_context(open_sound(encoded, track))
        except BaseException:
            self._close.close()
            raise
        self.seconds, self.piped = sound.seconds, sound.piped
        if track is None:
            mixer.other_tracks = len(sound.tracks) - 1
        return sound.blocks

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what was opened here; a file object that was passed in stays open, at its end.

        Where another thread is in the midst of a block, that thread closes it after the block.
        """
        self._closed = True
        if self._reading.acquire(blocking=False):
            try:
                self._close.close()
            finally:
                self._reading.release()

    def holds_more_than(self, samples: int, *, least_speed: float = 0.0) -> bool:
        """Read on until more than so many 16 kHz samples are held, or the source ends; they are given first later.

        Parameters
        ----------
        samples : int
        least_speed : float, optional
            Of what comes slower than so many times real time, nothing more is awaited: it may well hold more.
        """
        held = sum(resampled_length(len(block), rate_hz) for rate_hz, block in self._held)
        begun = None
        while held <= samples and self._problem is None:
            now = time.monotonic()
            begun = now if begun is None and held else begun
            if begun is not None and held < SAMPLE_RATE_HZ * least_speed * (now - begun - _START_SECONDS):
                return True
            try:
                read = self._next_block()
            except AudioReadError as error:
                self._problem = error
                return False
            if read is None:
                return False
            rate_hz, block = read
            self._held.append(read)
            held += resampled_length(len(block), rate_hz)
        return held > samples

    def load(self, timeline: Recorder = NULL) -> tuple[Audio, AudioTailError | None]:
        """Return all of it as one clip, and the error that it breaks off where it does; close the source.

        Raises
        ------
        AudioReadError
            It broke off before anything could be read.
        AudioTooShortError
            It holds fewer than 160 samples at 16 kHz.
        """
        with self, timeline.span("read"):
            parts = _merged(self._rest())
        try:
            audio = as_audio(parts, self.name, timeline)
        except AudioTooShortError:
            if self._problem is not None:
                raise self._unreadable(self._problem) from self._problem
            raise
        self.samples_read = len(audio.samples)
        return audio, None if self._problem is None else self._tail(self._problem)

    def __iter__(self) -> Iterator[Float32]:
        """Yield blocks [shape=(n,)], float32, 16 kHz mono, each its own array.

        Raises
        ------
        AudioTailError
            The source broke off; everything before has been given.
        AudioReadError
            It broke off before anything could be read.
        AudioValueError
            Samples that are not finite, or arrays that are not audio.
        """
        resampler: Resampler | None = None
        for rate_hz, block in self._rest():
            if resampler is None or resampler.rate_hz != rate_hz:
                if resampler is not None:
                    yield from self._count(resampler.finish())
                resampler = Resampler(rate_hz)
            yield from self._count(resampler.add(block))
        if resampler is not None:
            yield from self._count(resampler.finish())
        if self._problem is not None:
            if self.samples_read == 0:
                raise self._unreadable(self._problem)
            raise self._tail(self._problem) from self._problem

    def _rest(self) -> Iterator[tuple[int, Float32]]:
        """Yield what is held, then what follows, up to where the source ends or breaks off."""
        while self._held:
            yield self._held.popleft()
        if self._problem is not None:
            return
        try:
            while (read := self._next_block()) is not None:
                yield read
        except AudioReadError as error:
            self._problem = error

    def _next_block(self) -> tuple[int, Float32] | None:
        """Read a block; None at the end. Decoders are compiled code: nobody may close them meanwhile."""
        try:
            with self._reading:
                return next(self._mono, None)
        finally:
            if self._closed:
                self.close()

    def _count(self, block: Float32) -> Iterator[Float32]:
        if len(block):
            self.samples_read += len(block)
            yield block

    def _tail(self, problem: AudioReadError) -> AudioTailError:
        said = problem.problem if isinstance(problem, BreakOffError) else str(problem)
        return AudioTailError(self.name, self.samples_read / SAMPLE_RATE_HZ, said)

    def _unreadable(self, problem: AudioReadError) -> AudioReadError:
        if not isinstance(problem, BreakOffError):
            return problem
        return AudioReadError(
            f"{self.name} cannot be read as audio: it breaks off before any sound ({problem.problem}). A complete "
            "sound file was expected; record or download it again."
        )


def _is_encoded(source: object) -> bool:
    return isinstance(source, (str, Path, bytes, bytearray, memoryview)) or hasattr(source, "read")


def _mono(blocks: Iterator[Block], mixer: Mixer, name: str) -> Iterator[tuple[int, Float32]]:
    with typed(name, "reading"):  # whatever a decoder or the caller's own iterable raises
        for rate_hz, samples in blocks:
            mono = mixer.mono(samples, rate_hz)
            if len(mono):
                yield rate_hz, mono
        mixer.finish()


def _merged(blocks: Iterable[tuple[int, Float32]]) -> list[tuple[int, Float32]]:
    """Join neighbouring blocks of one rate."""
    runs: list[tuple[int, list[Float32]]] = []
    for rate_hz, block in blocks:
        if not runs or runs[-1][0] != rate_hz:
            runs.append((rate_hz, []))
        runs[-1][1].append(block)
    return [(rate_hz, held[0] if len(held) == 1 else np.concatenate(held)) for rate_hz, held in runs]


def _array_blocks(array: npt.NDArray[Any], rate_hz: int, name: str) -> Iterator[Block]:
    frames = frames_of(array, name)
    step = max(1, _ARRAY_VALUES // frames.shape[1])
    for start in range(0, len(frames), step):
        yield Block(rate_hz, to_float32(frames[start : start + step]))


def _iterable_blocks(source: Iterable[Any], rate_hz: int, name: str) -> Iterator[Block]:
    for item in source:
        block = as_array(item)
        if block is None:
            raise AudioValueError(
                f"{name} gave {type(item).__name__}; arrays of int16, float32 or float64 samples are expected of an "
                "iterable. Convert it: numpy.asarray(samples, numpy.float32)."
            )
        if block.size:
            yield from _array_blocks(block, rate_hz, name)
