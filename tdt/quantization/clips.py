"""Calibration audio: find it, read it, refuse too little."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from tdt.audio import audio_files
from tdt.errors import AudioNotFoundError, CalibrationAudioError, TdtError
from tdt.failures import outcome
from tdt.spec import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tdt.stages import Float32

MIN_SPEECH_SECONDS = 60.0
# Of audio that ends where the user's bound is, this much must be sound: speech pauses, and the bound counts the pauses.
BOUNDED_SHARE = 0.8
PIECE_SECONDS = 20.0
MIN_CLIP_SECONDS = 0.1

_FRAME = SAMPLE_RATE_HZ // 50  # 20 ms
_FLOOR_DBFS = -55.0
_HANGOVER_FRAMES = 25  # half a second: pauses between words belong to speech


@dataclass(frozen=True, slots=True)
class Clip:
    """One calibration recording.

    Parameters
    ----------
    path : Path
        The file.
    samples : ndarray [shape=(n,)], float32
        Mono, 16 kHz.
    sounding_seconds : float
        Time that is not silence.
    """

    path: Path
    samples: Float32
    sounding_seconds: float

    @property
    def seconds(self) -> float:
        """Duration."""
        return len(self.samples) / SAMPLE_RATE_HZ

    def pieces(self) -> Iterator[Float32]:
        """Cut into equal pieces of at most :data:`PIECE_SECONDS`, to bound memory."""
        count = max(1, int(np.ceil(self.seconds / PIECE_SECONDS)))
        yield from np.array_split(self.samples, count)


@dataclass(frozen=True, slots=True)
class AudioSet:
    """Recordings that were read, and files that were not, with the reason."""

    clips: tuple[Clip, ...]
    skipped: tuple[tuple[Path, str], ...]

    @property
    def seconds(self) -> float:
        """Total duration."""
        return sum(clip.seconds for clip in self.clips)

    @property
    def sounding_seconds(self) -> float:
        """Total time that is not silence."""
        return sum(clip.sounding_seconds for clip in self.clips)


def find_audio(paths: Sequence[Path]) -> list[Path]:
    """List audio files: files as given, folders searched through, other files in folders passed over.

    Raises
    ------
    AudioNotFoundError
        Where a path does not exist.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += audio_files(path)
        elif path.is_file():
            found.append(path)
        else:
            raise AudioNotFoundError(
                f"There is no file or folder {path}. Pass recordings, or a folder that holds some."
            )
    return list(dict.fromkeys(found))


def read_audio(paths: Sequence[Path], max_seconds: float = float("inf")) -> AudioSet:
    """Read recordings until `max_seconds` are reached; unreadable ones are skipped with their reason."""
    from tdt.audio import load_audio

    clips: list[Clip] = []
    skipped: list[tuple[Path, str]] = []
    room = max_seconds
    for path in find_audio(paths):
        if room < MIN_CLIP_SECONDS:
            skipped.append((path, f"{max_seconds:.0f} s are reached"))
            continue
        audio = outcome(partial(load_audio, path), str(path), "reading")
        if isinstance(audio, TdtError):
            skipped.append((path, str(audio)))
            continue
        samples = audio.samples
        if len(samples) < MIN_CLIP_SECONDS * SAMPLE_RATE_HZ:
            skipped.append((path, f"shorter than {MIN_CLIP_SECONDS:g} s"))
            continue
        samples = samples[: int(min(room, 1e9) * SAMPLE_RATE_HZ)]
        clips.append(Clip(path, samples, sounding_seconds(samples)))
        room -= clips[-1].seconds
    return AudioSet(tuple(clips), tuple(skipped))


def require_speech(audio: AudioSet, max_seconds: float = float("inf")) -> None:
    """Refuse a set that holds too little sound to calibrate on: less than a minute.

    Parameters
    ----------
    audio : AudioSet
    max_seconds : float
        What it was bounded by. Where that is what ended it, some of it may be pauses.

    Raises
    ------
    CalibrationAudioError
        With the numbers.
    """
    bounded = audio.seconds > max_seconds - MIN_CLIP_SECONDS
    minimum = min(MIN_SPEECH_SECONDS, BOUNDED_SHARE * max_seconds) if bounded else MIN_SPEECH_SECONDS
    if audio.sounding_seconds < minimum:
        numbers = (len(audio.clips), audio.seconds, audio.sounding_seconds, minimum, len(audio.skipped))
        raise CalibrationAudioError(*numbers, bounded=bounded)


def sounding_seconds(samples: Float32) -> float:
    """Return the time within half a second of a 20 ms frame that is louder than -55 dBFS."""
    frames = samples[: len(samples) // _FRAME * _FRAME].reshape(-1, _FRAME)
    if len(frames) == 0:
        return 0.0
    loud = np.sqrt(np.mean(np.square(frames, dtype=np.float64), axis=1)) > 10.0 ** (_FLOOR_DBFS / 20.0)
    kernel = np.ones(2 * _HANGOVER_FRAMES + 1)
    near = np.convolve(loud, kernel, mode="full")[_HANGOVER_FRAMES : _HANGOVER_FRAMES + len(loud)] > 0.5
    return float(near.sum()) * _FRAME / SAMPLE_RATE_HZ
