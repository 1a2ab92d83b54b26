"""What is said on the socket `WS /v1/listen`, as a conversation that knows no socket.

A first message says what comes (JSON), then blocks of samples (binary); what becomes known is told in JSON.
"""

from __future__ import annotations

import json
import math
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from tdt.audio import BlockMixer
from tdt.errors import AudioValueError, FieldError, TdtError
from tdt.live import PRESETS, Update
from tdt.serving.live_session import LiveAsk, Progress
from tdt.serving.refusing import refused
from tdt.spec import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tdt.serving.live_session import LiveSession, Said
    from tdt.serving.settings import Settings
    from tdt.stages import Float32
    from tdt.text import Transcript

FORMATS: dict[str, np.dtype[Any]] = {"pcm16": np.dtype("<i2"), "float32": np.dtype("<f4")}
RATES, CHANNELS, PHRASES = (1000, 384_000), (1, 8), 1000
LONGEST_BLOCK = 1 << 20  # bytes
LONGEST_TEXT = 1 << 18  # characters
_USUAL = LiveAsk()
FIELDS = frozenset({"type", "rate", "format", "channels", "latency", "phrases"})


class Stage(StrEnum):
    """Where a conversation stands."""

    OPENING = "opening"
    SPEAKING = "speaking"
    FINISHING = "finishing"


class Start(NamedTuple):
    """Somebody will speak."""

    ask: LiveAsk


class Sound(NamedTuple):
    """Samples [shape=(n,)]."""

    samples: Float32


class Finish(NamedTuple):
    """Nothing follows."""


Heard: TypeAlias = Start | Sound | Finish


class Conversation:
    """Understands messages, one after another; what is refused changes nothing.

    Parameters
    ----------
    latency : str, optional
        What the address says of it; the first message may say otherwise.
    """

    def __init__(self, latency: str | None = None) -> None:
        self._latency = latency
        self.stage = Stage.OPENING
        self.ask = _USUAL
        self._mixer = BlockMixer("The stream")

    def take(self, message: str | bytes) -> Heard:
        """Return what a message means.

        Parameters
        ----------
        message : str or bytes
            Of a text or of a binary frame.

        Raises
        ------
        FieldError
            It is none that may come now, or has a field that cannot be used. Nothing can follow.
        AudioValueError
            A block that is no sound. The next one is welcome.
        """
        if isinstance(message, bytes):
            return self._sound(message)
        fields = _object(message)
        kind = fields.get("type", "start" if self.stage is Stage.OPENING else None)
        if kind == "start" and self.stage is Stage.OPENING:
            self.ask = self._start(fields)
            self.stage = Stage.SPEAKING
            return Start(self.ask)
        if kind == "finish" and self.stage is Stage.SPEAKING:
            self.stage = Stage.FINISHING
            return Finish()
        expected = {
            Stage.OPENING: '"start", with rate and format',
            Stage.SPEAKING: '"finish", or blocks of samples as binary messages',
            Stage.FINISHING: 'nothing after "finish"',
        }[self.stage]
        raise FieldError("type", _shown(kind), expected)

    def _start(self, fields: Mapping[str, Any]) -> LiveAsk:
        unknown = sorted(set(fields) - FIELDS)
        if unknown:
            raise FieldError(unknown[0][:60], "is not known here", f"one of {', '.join(sorted(FIELDS))}")
        form = fields.get("format", _USUAL.format)
        if form not in FORMATS if isinstance(form, str) else True:
            raise FieldError("format", _shown(form), "pcm16 or float32, little-endian")
        latency = fields.get("latency")
        if latency is None and self._latency is not None:
            latency = int(self._latency) if self._latency in map(str, PRESETS) else self._latency
        latency = _USUAL.latency if latency is None else latency
        if isinstance(latency, bool) or not isinstance(latency, int) or latency not in PRESETS:
            raise FieldError("latency", _shown(latency), "4, 2 or 1 (seconds)")
        return LiveAsk(
            _whole(fields, "rate", _USUAL.rate, *RATES),
            form,
            _whole(fields, "channels", _USUAL.channels, *CHANNELS),
            latency,
            _phrases(fields.get("phrases", [])),
        )

    def _sound(self, block: bytes) -> Sound:
        if self.stage is not Stage.SPEAKING:
            expected = (
                "a first message in JSON, with rate and format" if self.stage is Stage.OPENING else "no more sound"
            )
            raise FieldError("message", "is binary", expected)
        if len(block) > LONGEST_BLOCK:
            raise FieldError("message", f"has {len(block)} bytes", f"blocks of at most {LONGEST_BLOCK} bytes")
        dtype, channels = FORMATS[self.ask.format], self.ask.channels
        if len(block) % (dtype.itemsize * channels):
            raise AudioValueError(
                f"A block of {len(block)} bytes holds no whole number of samples; a multiple of "
                f"{dtype.itemsize * channels} bytes is expected: {self.ask.format}, {channels} channels."
            )
        samples = np.frombuffer(block, dtype).reshape(-1, channels)
        return Sound(self._mixer.mono(samples if channels > 1 else samples[:, 0]))


def _object(message: str) -> dict[str, Any]:
    if len(message) > LONGEST_TEXT:
        raise FieldError("message", f"has {len(message)} characters", f"at most {LONGEST_TEXT}")
    try:
        fields = json.loads(message)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise FieldError("message", "is no JSON object", 'one such as {"type": "start", "rate": 16000}')
    return fields


def _whole(fields: Mapping[str, Any], name: str, usual: int, least: int, most: int) -> int:
    value = fields.get(name, usual)
    whole = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value) and value == int(value))
    if isinstance(value, bool) or not whole or not least <= value <= most:
        raise FieldError(name, _shown(value), f"a whole number from {least} to {most}")
    return int(value)


def _phrases(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > PHRASES or not all(isinstance(one, str) and one for one in value):
        raise FieldError("phrases", _shown(value), f"a list of at most {PHRASES} phrases")
    return tuple(value)


def _shown(value: Any) -> str:
    return f"is {json.dumps(value)[:60]}"


# --- what is told -----------------------------------------------------------------------------------------------------


def ready(settings: Settings, ask: LiveAsk, session: LiveSession) -> dict[str, Any]:
    """Return the answer to the first message: what listens, and how."""
    return {
        "type": "ready",
        "model": settings.model,
        "provider": settings.provider,
        "rate": ask.rate,
        "format": ask.format,
        "channels": ask.channels,
        "latency_seconds": _rounded(session.contexts.latency_seconds),
        "chunk_seconds": _rounded(session.contexts.chunk_samples / SAMPLE_RATE_HZ),
    }


def told(said: Said) -> dict[str, Any]:
    """Return something that has become known as a message."""
    if isinstance(said, Progress):
        return {"type": "heard", **{name: _rounded(value) for name, value in said._asdict().items()}}
    if isinstance(said, TdtError):
        return {"type": "error", **refused(said)[1], "fatal": False}
    assert isinstance(said, Update)
    words = [
        {
            "text": word.text,
            "start": _rounded(word.start),
            "end": _rounded(word.end),
            "confidence": _rounded(word.confidence),
            "settled": word.settled,
        }
        for word in said.words
    ]
    times = {name: _rounded(getattr(said, name)) for name in ("start", "end", "audio_seconds")}
    return {"type": said.kind, "final": said.final, "draft": said.draft, "words": words, **times}


def finished(transcript: Transcript | None) -> dict[str, Any]:
    """Return the last message: all that was said."""
    text, seconds = ("", 0.0) if transcript is None else (transcript.text, transcript.audio_seconds)
    return {"type": "finished", "text": text, "audio_seconds": _rounded(seconds)}


def _rounded(value: float) -> float:
    return round(float(value), 3)
