"""Audio of any length as a stream of 16 kHz mono blocks, never whole in memory."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self, cast

import numpy as np

from tdt.audio.decoders import open_other
from tdt.audio.loading import LARGEST_SAMPLE, as_float32, name_of
from tdt.errors import AudioNotFoundError, AudioReadError, AudioTailError, AudioValueError, OptionError
from tdt.spec import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]

BLOCK_SECONDS = 10.0
# A block of 8 channels at 192 kHz would take 61 MB; one million values are 4 MB.
MAX_BLOCK_VALUES = 1 << 20
# libsndfile's answer where a header does not know the length (a pipe, an interrupted recorder).
_UNKNOWN_FRAMES = 0x7FFFFFFF


class BlockReader:
    """Blocks of a source, mixed to one channel and resampled to 16 kHz as they are read.

    Iterating gives float32 arrays of about ten seconds. What was read before a source breaks off is always given
    first; then :class:`~tdt.errors.AudioTailError` is raised, which names the second it happened at.

    Parameters
    ----------
    source : path, bytes, binary file object, ndarray, or iterable of ndarrays
        Files that libsndfile reads are streamed; other formats go through audioread's decoders, also as a stream (bytes
        and file objects by way of a temporary file). A pipe carrying WAV or AU is read as it comes; other formats on a
        pipe are spooled to a temporary file first.
        Arrays are [n] or [n, channels] of int16, float32 or float64.
    sample_rate : int, optional
        Rate of arrays in Hz; 16000 where not given. Files know theirs.
    channel : int, optional
        The channel to take, from 0. None takes the mean of all.
    """

    def __init__(self, source: Any, *, sample_rate: int | None = None, channel: int | None = None) -> None:
        self.name = name_of(source)
        self.samples_read = 0
        self._channel = channel
        self._held: deque[Float32] = deque()
        self._problem: AudioTailError | None = None
        self._close = ExitStack()
        try:
            self.rate_hz, self.total_frames, self._raw = self._open(source, sample_rate)
        except BaseException:
            self._close.close()
            raise
        self._blocks = self._read()

    @property
    def seconds(self) -> float | None:
        """Length that the source claims, for progress only; None where it does not say."""
        return None if self.total_frames is None else self.total_frames / self.rate_hz

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what was opened here; a file object that was passed in stays open."""
        self._close.close()

    def holds_more_than(self, samples: int) -> bool:
        """Read on until more than so many 16 kHz samples are held, or the source ends; iterating gives them first."""
        try:
            while sum(map(len, self._held)) <= samples:
                self._held.append(next(self._blocks))
        except StopIteration:
            return False
        except AudioTailError as error:
            self._problem = error
            return False
        return True

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
        while self._held:
            yield self._held.popleft()
        if self._problem is not None:
            raise self._problem
        yield from self._blocks

    def _read(self) -> Iterator[Float32]:
        problem: AudioReadError | None = None
        resample = _resampler(self.rate_hz)
        try:
            for raw in self._raw:
                block = self._mono(raw)
                yield from self._count(resample(block, last=False))
        except AudioReadError as error:
            problem = error
        yield from self._count(resample(np.zeros(0, np.float32), last=True))
        if problem is not None:
            if self.samples_read == 0:
                raise problem
            raise AudioTailError(self.name, self.samples_read / SAMPLE_RATE_HZ, str(problem)) from problem

    def _count(self, block: Float32) -> Iterator[Float32]:
        if len(block):
            self.samples_read += len(block)
            yield block

    def _mono(self, raw: npt.NDArray[Any]) -> Float32:
        frames = as_float32(raw, self.name)
        channels = frames.shape[1]
        if self._channel is None:
            mono = frames[:, 0] if channels == 1 else frames.mean(axis=1, dtype=np.float32)
        elif 0 <= self._channel < channels:
            mono = np.ascontiguousarray(frames[:, self._channel])
        else:
            raise OptionError("channel", self._channel, f"0 to {channels - 1}: {self.name} has {channels} channel(s)")
        if len(mono) and not np.abs(mono).max() <= LARGEST_SAMPLE:  # false for NaN, too
            at = self.samples_read / SAMPLE_RATE_HZ
            raise AudioValueError(
                f"{self.name} holds samples that are NaN, infinite or huge near {at:.1f} s; "
                "finite samples in about -1..1 are expected. Repair the recording."
            )
        return mono

    def _open(self, source: Any, rate: int | None) -> tuple[int, int | None, Iterator[npt.NDArray[Any]]]:
        if rate is not None and rate <= 0:
            raise OptionError("sample_rate", rate, "a positive number of samples a second")
        if isinstance(source, np.ndarray):
            return rate or SAMPLE_RATE_HZ, len(source), _array_blocks(source)
        if isinstance(source, (bytes, bytearray, memoryview)):
            return self._open_file(io.BytesIO(source))
        if isinstance(source, (str, Path)):
            path = Path(source)
            if not path.is_file():
                kind = "is a folder" if path.is_dir() else "does not exist"
                raise AudioNotFoundError(f"{path} {kind}; a sound file was expected. Check the path.")
            return self._open_file(str(path))
        if hasattr(source, "read"):
            return self._open_stream(source)
        if isinstance(source, Iterable):
            return rate or SAMPLE_RATE_HZ, None, _iterable_blocks(source)
        raise AudioValueError(
            f"Audio of type {type(source).__name__} cannot be read; expected a path, bytes, a binary file object, "
            "an array, or an iterable of arrays."
        )

    def _open_stream(self, stream: IO[bytes]) -> tuple[int, int | None, Iterator[npt.NDArray[Any]]]:
        with suppress(AttributeError, OSError, ValueError):
            if stream.seekable():
                return self._open_file(stream)
        head = stream.read(4)
        if head in {b"RIFF", b".snd", b"RIFX"} and os.name == "posix":
            return self._open_file(self._close.enter_context(_Relay(head, stream)).fileno())
        spool = self._close.enter_context(tempfile.TemporaryFile(prefix="tdt-audio-"))  # noqa: SIM115
        spool.write(head)
        shutil.copyfileobj(stream, spool, 1 << 20)
        spool.seek(0)
        return self._open_file(spool)

    def _open_file(self, file: Any) -> tuple[int, int | None, Iterator[npt.NDArray[Any]]]:
        import soundfile

        try:
            opened = soundfile.SoundFile(file, closefd=False) if isinstance(file, int) else soundfile.SoundFile(file)
        except (soundfile.LibsndfileError, OSError, TypeError, ValueError) as error:
            path = self._path_of(file)
            if path is not None:
                sound = self._close.enter_context(open_other(path, self.name, str(error)))
                return sound.rate_hz, None, sound.blocks
            raise AudioReadError(
                f"{self.name} cannot be read as audio ({error}); a WAV, FLAC, OGG, MP3 or similar file was expected. "
                "Check that the file is complete and is a sound file."
            ) from error
        self._close.callback(opened.close)
        total = int(opened.frames)
        known = 0 < total < _UNKNOWN_FRAMES
        return int(opened.samplerate), total if known else None, _file_blocks(opened, self.name)

    def _path_of(self, file: Any) -> Path | None:
        """Return where the content lies, for decoders that take paths alone; None where it is empty or a pipe's.

        What is not a file yet is copied to one, which goes when the reader is closed.
        """
        if isinstance(file, int):
            return None
        if isinstance(file, str):
            path = Path(file)
        else:
            with suppress(OSError, ValueError):
                file.seek(0)
            copy = self._close.enter_context(tempfile.NamedTemporaryFile(prefix="tdt-audio-"))  # noqa: SIM115
            shutil.copyfileobj(file, copy, 1 << 20)
            copy.flush()
            path = Path(copy.name)
        return path if path.stat().st_size > 0 else None


def _resampler(rate_hz: int) -> Any:
    """Return block, last -> block at 16 kHz; equal to resampling the whole (soxr HQ, as librosa calls it)."""
    if rate_hz == SAMPLE_RATE_HZ:
        return lambda block, last: block  # noqa: ARG005
    import soxr

    stream = soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")

    def resample(block: Float32, last: bool) -> Float32:
        return cast("Float32", stream.resample_chunk(block, last=last))

    return resample


def _block_frames(rate_hz: int, channels: int) -> int:
    return max(1024, min(int(BLOCK_SECONDS * rate_hz), MAX_BLOCK_VALUES // channels))


def _array_blocks(samples: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    for start in range(0, len(samples), MAX_BLOCK_VALUES // 8):
        yield samples[start : start + MAX_BLOCK_VALUES // 8]


def _iterable_blocks(source: Iterable[Any]) -> Iterator[npt.NDArray[Any]]:
    for item in source:
        block = np.asarray(item)
        if block.size:
            yield from _array_blocks(block)


def _file_blocks(opened: Any, name: str) -> Iterator[npt.NDArray[Any]]:
    import soundfile

    size = _block_frames(opened.samplerate, opened.channels)
    start = 0
    while True:
        buffer = np.zeros((size, opened.channels), np.float32)
        try:
            block = buffer[: opened.buffer_read_into(buffer, dtype="float32")]
        except (soundfile.LibsndfileError, RuntimeError) as error:
            # libsndfile has decoded up to its own position before it gave up.
            with suppress(soundfile.LibsndfileError, RuntimeError):
                kept = opened.tell() - start
                if 0 < kept <= size:
                    yield buffer[:kept]
            raise AudioReadError(f"{name} cannot be decoded further: {str(error).strip() or 'damaged data'}") from error
        if len(block) == 0:
            break
        start += len(block)
        yield block
    # FLAC states its length exactly; where fewer frames come, the file was cut.
    if opened.format == "FLAC" and start < opened.frames < _UNKNOWN_FRAMES:
        raise AudioReadError(f"{name} ends after {start} of {opened.frames} samples")


class _Relay:
    """A pipe fed from a stream, so that libsndfile can read a descriptor whose first bytes were looked at."""

    def __init__(self, head: bytes, stream: IO[bytes]) -> None:
        self._out, into = os.pipe()
        self._thread = threading.Thread(target=self._copy, args=(head, stream, into), daemon=True)
        self._thread.start()

    @staticmethod
    def _copy(head: bytes, stream: IO[bytes], into: int) -> None:
        with suppress(BrokenPipeError), os.fdopen(into, "wb", buffering=0) as pipe:
            chunk = head
            while chunk:
                pipe.write(chunk)
                chunk = stream.read(1 << 16)

    def fileno(self) -> int:
        """Return the reading end."""
        return self._out

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._out)
