"""The keyword arguments of the recogniser's methods, for type checkers and editors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tdt.fusion import Beam, NgramLM
    from tdt.timeline import Recorder

Errors = Literal["raise", "return"]


class FusionOptions(TypedDict, total=False):
    """What is known beside the sound, and how many hypotheses are kept; see :meth:`tdt.Recognizer.decode_piece`."""

    phrases: Any
    lm: NgramLM | None
    lm_weight: float | None
    beam: int | Beam | None
    script: str | Iterable[str] | None
    allowed: Iterable[int] | None


class ReadOptions(TypedDict, total=False):
    """How audio is read, batched and cut; see :meth:`tdt.Recognizer.transcribe`."""

    sample_rate: int | None
    channel: int | None
    track: int | None
    batch_size: int | None
    chunk_seconds: float | None
    context_seconds: float | None
    max_memory_bytes: int | None
    second_look: bool


class StreamOptions(ReadOptions, FusionOptions, total=False):
    """Options of :meth:`tdt.Recognizer.stream` and :meth:`tdt.Recognizer.transcribe_each`."""

    timeline: Recorder


class TranscribeOptions(ReadOptions, FusionOptions, total=False):
    """Options of :meth:`tdt.Recognizer.transcribe`."""

    errors: Errors
    progress: Callable[[int, int], object] | None
    timeline: bool | Recorder


class LiveOptions(FusionOptions, total=False):
    """Options of :meth:`tdt.Recognizer.live` and :meth:`tdt.Recognizer.live_batch`."""

    left: float | None
    chunk: float | None
    right: float | None
    latency: int | None
    end_of_speech: float | None
    restart: float | None
    sample_rate: int | None
    channel: int | None
    timeline: Recorder | None
    gate: bool


class LoadOptions(TypedDict, total=False):
    """Options of :func:`tdt.load` that a worker of a corpus takes."""

    provider: str
    precision: Any
    threads: int | None
    decoder: Any
    weights: Any
