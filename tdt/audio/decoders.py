"""Encoded sound as a stream of blocks: libsndfile first, audioread's decoders for what it does not know."""

from __future__ import annotations

import io
import os
import re
import tempfile
import warnings
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.errors import AudioReadError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]

# A header may claim any number of channels and frames; memory is bounded by this, 4 MB of float32.
MAX_BLOCK_VALUES = 1 << 20
# Sizes from here on are what writers to a pipe put for "unknown".
_UNKNOWN_BYTES = 0x7FFF0000
# Less missing than this is a sloppy writer, not a file cut short.
_SLACK_BYTES = 4096
_UNKNOWN_FRAMES = 1 << 40
_CLAIMED = re.compile(r"^\s*(?:data|SSND|riff|Data Size)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Sound:
    """An opened source: blocks [shape=(n, channels)], float32, at `rate_hz`."""

    rate_hz: int
    blocks: Iterator[Float32]


@contextmanager
def open_sound(source: Path | bytes, name: str) -> Iterator[Sound]:
    """Open encoded sound and close it again.

    Parameters
    ----------
    source : Path or bytes
        A regular file, or its contents.
    name : str
        What errors call it.

    Yields
    ------
    Sound

    Raises
    ------
    AudioReadError
        Nothing here decodes it, now or in the middle.
    """
    import soundfile

    with ExitStack() as closing:
        try:
            # A descriptor, not the path: libsndfile would take some file endings as headerless sound of any content.
            file = _Encoded(source) if isinstance(source, bytes) else closing.enter_context(_descriptor(source))
            opened = closing.enter_context(soundfile.SoundFile(file, closefd=False))
        except (soundfile.LibsndfileError, OSError, TypeError, ValueError, OverflowError) as error:
            if source == b"":
                raise AudioReadError(f"{name} is empty (0 bytes); a sound file was expected.") from error
            if isinstance(error, PermissionError):
                raise AudioReadError(f"{name} cannot be opened: {error.strerror}. Check its permissions.") from error
            yield closing.enter_context(open_other(source, name, str(error)))
            return
        yield Sound(int(opened.samplerate), _blocks(opened, name))


class _Encoded(io.BytesIO):
    """Bytes for libsndfile, which looks for places before the start of damaged files."""

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move there, or stay where there is no such place."""
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()


@contextmanager
def _descriptor(path: Path) -> Iterator[int]:
    number = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        yield number
    finally:
        os.close(number)


def _blocks(opened: Any, name: str) -> Iterator[Float32]:
    import soundfile

    size = max(1, MAX_BLOCK_VALUES // opened.channels)
    read = 0
    while True:
        try:
            block = opened.read(size, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, RuntimeError, ValueError, OverflowError) as error:
            detail = str(error).strip(" .:") or "damaged data"
            raise AudioReadError(
                f"{name} cannot be decoded after {read / opened.samplerate:.1f} s ({detail}); a complete sound file "
                "was expected. Record or download it again."
            ) from error
        if len(block) == 0:
            break
        read += len(block)
        yield block
    problem = _cut_short(opened, read)
    if problem:
        raise AudioReadError(
            f"{name} is cut short: {problem}; a complete sound file was expected. Record or download it again, or "
            "convert what is there to a new file."
        )


def _cut_short(opened: Any, read: int) -> str:
    """Return what is missing of what the header promises, for formats whose header can be trusted; else ""."""
    if opened.format == "FLAC" and read < opened.frames < _UNKNOWN_FRAMES:
        return f"{read} of {opened.frames} samples are there"
    for claimed, present in _CLAIMED.findall(opened.extra_info):
        if int(present) + _SLACK_BYTES < int(claimed) < _UNKNOWN_BYTES:
            return f"{present} of {claimed} bytes of sound are there"
    return ""


@contextmanager
def open_other(source: Path | bytes, name: str, why: str) -> Iterator[Sound]:
    """Open a format that libsndfile does not know as librosa does, through audioread."""
    with ExitStack() as closing:
        if isinstance(source, bytes):
            file = closing.enter_context(tempfile.NamedTemporaryFile(prefix="tdt-audio-"))
            file.write(source)
            file.flush()
            path = file.name
        else:
            path = os.path.abspath(source)  # noqa: PTH100  # never an option or a protocol of the decoder
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of modules that audioread imports
            import audioread

            try:
                # Its reader of WAV, AIFF and AU knows less than libsndfile, and leaves damaged files open.
                others = [b for b in audioread.available_backends() if b.__name__ != "RawAudioFile"]
                opened = closing.enter_context(audioread.audio_open(path, others))
            except (audioread.DecodeError, OSError, EOFError, ValueError) as error:
                raise AudioReadError(
                    f"{name} cannot be read as audio ({why.strip(' .:')}); WAV, FLAC, OGG, MP3 or another sound file "
                    "was expected. Check that it is complete and is sound; formats such as M4A need ffmpeg installed."
                ) from error
        yield Sound(int(opened.samplerate), _other_blocks(opened, name))


def _other_blocks(opened: Any, name: str) -> Iterator[Float32]:
    import audioread

    channels = max(1, int(opened.channels))
    rest = b""
    try:
        for chunk in opened:
            data = rest + bytes(chunk)
            whole = len(data) // (2 * channels) * (2 * channels)
            rest = data[whole:]
            if whole:
                yield np.frombuffer(data[:whole], "<i2").reshape(-1, channels).astype(np.float32) / np.float32(32768)
    except (audioread.DecodeError, OSError, EOFError, ValueError) as error:
        raise AudioReadError(
            f"{name} cannot be decoded further ({error}); a complete sound file was expected."
        ) from error
