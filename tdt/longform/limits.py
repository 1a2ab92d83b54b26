"""How long a window may be and how it is cut, by model, memory and provider."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tdt.checks import SECONDS, seconds_option, whole_option
from tdt.errors import OptionError
from tdt.free_memory import free_memory_bytes
from tdt.longform.batching import BATCH_SIZE, USUAL, BatchRule
from tdt.longform.chunking import Plan

if TYPE_CHECKING:
    from tdt.spec import ModelSpec

# Clips up to a minute stay uncut. Attention costs time with the length, memory with its square.
DEFAULT_CHUNK_SECONDS = 60.0
# Measured on pause-free speech (tools/bench_long.py context): 32, 8, 14, 5 and 3 of 3 × 3917 words go missing with 0,
# 0.5, 1, 2 and 4 s, and 5, 0, 0, 0 and 1 are doubled.
DEFAULT_CONTEXT_SECONDS = 2.0
# In a pause of less than what ends any window, this much is heard beyond it: without, the last word before a very short
# pause may be lost, with 0.5 s one was doubled; 1.2 s lets voices that take turns disturb each other (bundled model).
ASIDE_SECONDS = 0.8
# Encoders narrower than this are taken for small models, which hear best one voice and one sentence at a time.
SMALL_ENCODER_DIM = 512
SMALL_TARGET_SECONDS = 3.2
SMALL_PAUSE_SECONDS = 0.4
LARGE_TARGET_SECONDS = 20.0
LARGE_PAUSE_SECONDS = 1.0
LEAST_PAUSE_SECONDS = 0.16
MARGIN_SECONDS = 0.16
# After this long a pause a new turn begins: decoding starts afresh.
RESET_SECONDS = 2.0
# A part of what is free, in the machine's memory or on the card, that the encoder's activations may take.
MEMORY_SHARE = 0.5
# A card gains by larger batches than a CPU: in batches of 32 a clip of 10 s took an H100's encoder 16 % less time than
# in batches of 8 (float32; TF32 32 %, float16 51 %; shapes of parakeet-tdt-0.6b-v3, tools/selftest-gpu).
CARD_BATCH_SIZE = 32

_log = logging.getLogger("tdt")
_told_short: set[float] = set()


@dataclass(frozen=True, slots=True)
class CutOptions:
    """What the user says about long audio.

    Parameters
    ----------
    chunk_seconds : float, optional
        Longest window; by default 60, less only where the model's position table, the provider's shapes or the memory
        do not allow it.
    context_seconds : float, optional
        Context on each side of a cut through speech; by default 2, at most a quarter of the window.
    max_memory_bytes : int, optional
        For the encoder's activations; by default half of what is free where it runs.

    Raises
    ------
    OptionError
        Where one is no usable number, whatever the model.
    """

    chunk_seconds: float | None = None
    context_seconds: float | None = None
    max_memory_bytes: int | None = None

    def __post_init__(self) -> None:
        for name in ("chunk_seconds", "context_seconds"):
            object.__setattr__(self, name, seconds_option(name, getattr(self, name)))
        object.__setattr__(self, "max_memory_bytes", whole_option("max_memory_bytes", self.max_memory_bytes))


DEFAULT_CUT = CutOptions()


def make_plan(
    spec: ModelSpec,
    options: CutOptions = DEFAULT_CUT,
    provider_seconds: float | None = None,
    card_bytes: int | None = None,
) -> Plan:
    """Return how audio is cut for a model.

    Parameters
    ----------
    spec : ModelSpec
    options : CutOptions, optional
    provider_seconds : float, optional
        Longest input that the provider's engines are built for.
    card_bytes : int, optional
        What is free on the card that the encoder runs on; by default it runs in the machine's own memory.

    Raises
    ------
    OptionError
        A length that cannot be used.
    """
    chunk_seconds, context_seconds = options.chunk_seconds, options.context_seconds
    table = None if spec.max_encoder_frames is None else spec.max_encoder_frames * spec.frame_seconds
    ceiling = min((limit for limit in (table, provider_seconds) if limit is not None), default=None)
    if chunk_seconds is None:
        free = free_memory_bytes() if card_bytes is None else card_bytes
        budget = options.max_memory_bytes or int(MEMORY_SHARE * free)
        chunk_seconds = wanted = min(DEFAULT_CHUNK_SECONDS, ceiling or DEFAULT_CHUNK_SECONDS)
        while chunk_seconds > 10 and window_bytes(spec, chunk_seconds) > budget:
            chunk_seconds /= 2
        if chunk_seconds < wanted and options.max_memory_bytes is None:
            _tell_short(wanted, chunk_seconds, free)
    elif ceiling is not None and chunk_seconds > ceiling:
        expected = f"seconds from {SECONDS['chunk_seconds'].least:g} to {ceiling:g}, the longest input of this model"
        raise OptionError("chunk_seconds", chunk_seconds, expected)
    chunk = int(chunk_seconds / spec.frame_seconds)
    if context_seconds is None:
        context = min(round(DEFAULT_CONTEXT_SECONDS / spec.frame_seconds), chunk // 4)
    elif not 0 <= context_seconds <= chunk_seconds / 4:
        raise OptionError("context_seconds", context_seconds, f"0 to {chunk_seconds / 4:g}, a quarter of the window")
    else:
        context = min(round(context_seconds / spec.frame_seconds), chunk // 4)
    return _plan(spec, chunk, context)


def _tell_short(wanted: float, seconds: float, free: int) -> None:
    """Say that windows are shorter than elsewhere, which changes what is recognised: once for each length."""
    if seconds in _told_short:
        return
    _told_short.add(seconds)
    _log.warning(
        "only %d MB of memory are free: audio of more than %g s is cut, as a rule of more than %g s. The text may be "
        "another than that of other runs; chunk_seconds=%g (--chunk-seconds) keeps the rule",
        free >> 20, seconds, wanted, wanted,
    )  # fmt: skip


def _plan(spec: ModelSpec, chunk: int, context: int) -> Plan:
    def frames(seconds: float) -> int:
        return max(1, round(seconds / spec.frame_seconds))

    small = spec.encoder_dim < SMALL_ENCODER_DIM
    margin = frames(MARGIN_SECONDS)
    pause = max(frames(SMALL_PAUSE_SECONDS if small else LARGE_PAUSE_SECONDS), 2 * margin + 1)
    return Plan(
        chunk,
        context,
        aside=frames(ASIDE_SECONDS),
        margin=margin,
        pause=pause,
        least=min(frames(LEAST_PAUSE_SECONDS), pause),
        target=frames(SMALL_TARGET_SECONDS if small else LARGE_TARGET_SECONDS),
        reset=frames(RESET_SECONDS),
    )


def window_bytes(spec: ModelSpec, seconds: float, windows: int = 1) -> int:
    """Return a bound on what encoding takes: the first convolution, attention over all pairs of frames, the layers.

    On the CPU 1.1 to 1.8 times what was measured (``tools/bench_long.py activations``; bundled model, and the shapes of
    parakeet-tdt-0.6b-v3). Attention is reckoned with the published models' 8 heads.
    """
    mel_frames = seconds * 100
    frames = seconds / spec.frame_seconds
    features = 3 * mel_frames * spec.n_mels
    # Its outputs, the same after the activation, and once more where what is padding is set to zero.
    convolution = 3.5 * spec.front_channels * (mel_frames / 2) * (spec.n_mels / 2)
    attention = 3 * 8 * frames**2
    layers = 12 * frames * spec.encoder_dim
    return int(4 * windows * (features + convolution + attention + layers))


def batch_for_memory(spec: ModelSpec, chunk_seconds: float, max_memory_bytes: int) -> int:
    """Return how many windows of full length fit into the memory, at least one."""
    return max(1, max_memory_bytes // window_bytes(spec, chunk_seconds))


def batch_rule(
    spec: ModelSpec,
    chunk_seconds: float,
    batch_size: int | None = None,
    max_memory_bytes: int | None = None,
    card_bytes: int | None = None,
) -> BatchRule:
    """Return how large batches may become.

    Parameters
    ----------
    spec : ModelSpec
    chunk_seconds : float
        Of the longest window.
    batch_size : int, optional
        What the user asks for.
    max_memory_bytes : int, optional
        For the encoder's activations, as the user says.
    card_bytes : int, optional
        What is free on the card that the encoder runs on: without the user's word, up to 32 clips fill half of it.
    """
    if max_memory_bytes is not None:
        return BatchRule.of(min(batch_size or BATCH_SIZE, batch_for_memory(spec, chunk_seconds, max_memory_bytes)))
    if batch_size is not None:
        return BatchRule.of(batch_size)
    if card_bytes is None:
        return USUAL
    share = int(MEMORY_SHARE * card_bytes)
    return BatchRule(CARD_BATCH_SIZE, lambda clips, longest: window_bytes(spec, longest, clips) <= share)


def card_bytes(encoder: object) -> int | None:
    """Return what was free on the card when an encoder had been loaded there; None for one on the host."""
    found = getattr(encoder, "card_bytes", None)
    return found if isinstance(found, int) and found > 0 else None


def provider_seconds(encoder: object) -> float | None:
    """Return the longest input that an encoder's engines are built for; None where any length will do."""
    backend = getattr(getattr(encoder, "session", None), "backend", None)
    if backend is None or not backend.provider.startswith("tensorrt"):
        return None
    return float(backend.max_seconds)
