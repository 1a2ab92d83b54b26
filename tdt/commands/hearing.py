"""Where live sound comes from: a file or pipe, a file at the pace of speech, a microphone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.errors import AudioReadError, BrokenDependencyError, MissingDependencyError, OptionError
from tdt.spec import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tdt.stages import Float32

BLOCK_SECONDS = 0.1
_BLOCK = round(BLOCK_SECONDS * SAMPLE_RATE_HZ)
INSTALL = 'pip install "parakeet-tdt[mic]"'


def in_pieces(blocks: Iterable[Float32]) -> Iterator[Float32]:
    """Yield blocks of a tenth of a second or less, in order."""
    for block in blocks:
        for start in range(0, len(block), _BLOCK):
            yield block[start : start + _BLOCK]


def paced(
    pieces: Iterable[Float32],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Float32]:
    """Yield each piece when a listener would have heard it, counted from the first."""
    begun, heard = clock(), 0
    for piece in pieces:
        heard += len(piece)
        wait = begun + heard / SAMPLE_RATE_HZ - clock()
        if wait > 0:
            sleep(wait)
        yield piece


def microphone(device: str | None, tell: Callable[[str], None]) -> Iterator[Float32]:
    """Yield what a microphone hears, at 16 kHz, for ever.

    Parameters
    ----------
    device : str, optional
        Number or part of the name of an input device; the system's default where not given.
    tell : callable
        Is told where sound was lost.

    Raises
    ------
    MissingDependencyError, BrokenDependencyError
        The extra `mic` is not installed; PortAudio, which it needs, is not there.
    OptionError
        There is no such device.
    AudioReadError
        It cannot be opened, or breaks off.
    """
    sounddevice = _sounddevice()
    wanted: Any = int(device) if device is not None and device.isascii() and device.isdigit() else device
    try:
        found = sounddevice.query_devices(wanted, "input")
    except (ValueError, sounddevice.PortAudioError) as error:
        raise OptionError("DEVICE", device or "mic", f"an input device of `tdt listen --devices` ({error})") from error
    try:
        with sounddevice.InputStream(SAMPLE_RATE_HZ, _BLOCK, wanted, 1, "float32") as stream:
            while True:
                block, lost = stream.read(_BLOCK)
                if lost:
                    tell("sound was lost: this machine is too busy")
                yield np.array(block[:, 0], np.float32)
    except sounddevice.PortAudioError as error:
        raise AudioReadError(
            f"The microphone {found['name']!r} cannot be heard: {error}. Another program may hold it; "
            "`tdt listen --devices` lists the others."
        ) from error


def devices() -> str:
    """Return the input devices, a line each: number and name, the default marked.

    Raises
    ------
    MissingDependencyError, BrokenDependencyError
    """
    sounddevice = _sounddevice()
    default = sounddevice.default.device[0]
    lines = [
        f"{'*' if number == default else ' '} {number:3d}  {found['name']}"
        for number, found in enumerate(sounddevice.query_devices())
        if found["max_input_channels"] > 0
    ]
    return "\n".join(lines) or "no input device"


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError as error:
        raise MissingDependencyError("sounddevice", "A microphone", INSTALL) from error
    except OSError as error:
        remedy = "It needs the system's PortAudio: apt-get install libportaudio2, or what your system calls it."
        raise BrokenDependencyError("sounddevice", str(error), remedy) from error
    return sounddevice
