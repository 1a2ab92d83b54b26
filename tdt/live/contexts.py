"""How much audio the encoder hears around what is decoded: seconds become whole encoder frames once, in integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tdt.checks import number
from tdt.errors import OptionError
from tdt.spec import HOP_SAMPLES, SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from tdt.spec import ModelSpec

# Latency by design (chunk + right) in seconds → left, chunk and right. The shortest hears less on the left: with 10 s
# the encoder would run over 22.8 times the audio, with 5.04 s over 12.5 times, about as it does for two seconds.
PRESETS: dict[int, tuple[float, float, float]] = {4: (10.0, 2.0, 2.0), 2: (10.0, 1.0, 1.0), 1: (5.04, 0.48, 0.48)}
DEFAULT_LATENCY = 4
MOST_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Contexts:
    """What a window is made of, in encoder frames.

    Parameters
    ----------
    left : int
        Heard before the chunk, at most.
    chunk : int
        Decoded for good, at least 1.
    right : int
        Heard after the chunk.
    frame_samples : int
        16 kHz samples of an encoder frame.
    """

    left: int
    chunk: int
    right: int
    frame_samples: int

    @property
    def left_samples(self) -> int:
        """Samples heard before the chunk, at most."""
        return self.left * self.frame_samples

    @property
    def chunk_samples(self) -> int:
        """Samples decoded for good in a step."""
        return self.chunk * self.frame_samples

    @property
    def right_samples(self) -> int:
        """Samples heard after the chunk."""
        return self.right * self.frame_samples

    @property
    def frames(self) -> int:
        """Encoder frames of a full window."""
        return self.left + self.chunk + self.right

    @property
    def mel_frames(self) -> int:
        """Mel frames of a full window."""
        return self.frames * self.frame_samples // HOP_SAMPLES

    @property
    def latency_seconds(self) -> float:
        """The longest time from a sound to the step that decodes it, computing aside: chunk + right."""
        return (self.chunk + self.right) * self.frame_samples / SAMPLE_RATE_HZ

    @property
    def times_the_audio(self) -> float:
        """How often the encoder hears each sample once a window is full: (left + chunk + right) / chunk."""
        return self.frames / self.chunk


def contexts_of(
    spec: ModelSpec,
    left: float | None = None,
    chunk: float | None = None,
    right: float | None = None,
    latency: int | None = None,
    longest_seconds: float | None = None,
) -> Contexts:
    """Return contexts in seconds as whole encoder frames, rounded down.

    Seconds are rounded to whole samples first, so that a multiple of a frame keeps all its frames: 2.32 s are 29 of
    80 ms, where 2.32 * 100 / 8 in floating point is less than 29.

    Parameters
    ----------
    spec : ModelSpec
    left, chunk, right : float, optional
        Seconds; what is not given comes from the preset.
    latency : {4, 2, 1}, optional
        Which preset; 4 where not given.
    longest_seconds : float, optional
        Longest input that the provider's engines are built for.

    Raises
    ------
    OptionError
        One is no usable number, the chunk is shorter than a frame, or the window longer than the model takes.
    """
    if latency is not None and (isinstance(latency, bool) or not isinstance(latency, int) or latency not in PRESETS):
        raise OptionError("latency", latency, "4, 2 or 1 (seconds), or left, chunk and right instead")
    preset = PRESETS[DEFAULT_LATENCY if latency is None else latency]
    seconds = {"left": left, "chunk": chunk, "right": right}
    frame_samples = HOP_SAMPLES * spec.subsampling
    frames: dict[str, int] = {}
    for (name, given), usual in zip(seconds.items(), preset, strict=True):
        value = usual if given is None else number(name, given, 0, MOST_SECONDS, "seconds")
        frames[name] = round(value * SAMPLE_RATE_HZ) // frame_samples
    if frames["chunk"] < 1:
        raise OptionError("chunk", chunk, f"at least one encoder frame, {spec.frame_seconds:g} seconds")
    contexts = Contexts(frames["left"], frames["chunk"], frames["right"], frame_samples)
    _check_length(contexts, spec, longest_seconds)
    return contexts


def _check_length(contexts: Contexts, spec: ModelSpec, longest_seconds: float | None) -> None:
    limits = [] if spec.max_encoder_frames is None else [spec.max_encoder_frames]
    if longest_seconds is not None:
        limits.append(round(longest_seconds * SAMPLE_RATE_HZ) // contexts.frame_samples)
    if limits and contexts.frames > min(limits):
        given = f"{contexts.frames * spec.frame_seconds:g} seconds"
        expected = f"at most {min(limits) * spec.frame_seconds:g} seconds, the longest input of this model here"
        raise OptionError("left + chunk + right", given, expected)
