"""Run several models, providers or precisions on the same audio and hold them against the first."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from tdt.errors import OptionError
from tdt.profiling import edit_distance
from tdt.quantization.calibration import Progress, silent
from tdt.runtime import Backend
from tdt.spec import SAMPLE_RATE_HZ, Precision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.recognizer import Recognizer
    from tdt.stages import Float32

LENGTHS_SECONDS = (10.0, 20.0, 40.0)
LATENCY_RUNS = 3


@dataclass(frozen=True, slots=True)
class Variant:
    """A model on a provider in a precision.

    Parameters
    ----------
    model : str
        Folder or name.
    provider : str
        As :func:`tdt.load` takes it.
    precision : str or None
        Which files to take.
    """

    model: str
    provider: str = "cpu"
    precision: str | None = None

    @classmethod
    def parse(cls, text: str) -> Variant:
        """Read ``MODEL[@PROVIDER][#PRECISION]``.

        Raises
        ------
        OptionError
            Where it cannot be read; whether there is such a model is not looked at.
        """
        model, precision, provider = text, None, "cpu"
        if "#" in model and not Path(model).exists():
            model, _, precision = model.rpartition("#")
            if precision not in get_args(Precision):
                raise OptionError("variant", text, f"MODEL[@PROVIDER][#PRECISION], of {', '.join(get_args(Precision))}")
        if "@" in model and not Path(model).exists():
            model, _, provider = model.rpartition("@")
        if not model:
            raise OptionError("variant", text, "MODEL[@PROVIDER][#PRECISION]")
        if provider != "auto":
            Backend.parse(provider)
        return cls(model, provider, precision)

    @property
    def label(self) -> str:
        """Short name for tables."""
        name = Path(self.model).name or self.model
        parts = [name, f"@{self.provider}" if self.provider != "cpu" else ""]
        return "".join([*parts, f"#{self.precision}" if self.precision else ""])


@dataclass(frozen=True, slots=True)
class LengthResult:
    """Encoder agreement and speed on audio of one length.

    Parameters
    ----------
    seconds : float
        Length of the clips, joined from the recordings.
    clips : int
        How many.
    cosine, worst_cosine : float
        Mean and smallest cosine of a frame to the first variant's.
    error : float
        Relative error of the output.
    encoder_ms : float
        Median time of one encoder run.
    """

    seconds: float
    clips: int
    cosine: float
    worst_cosine: float
    error: float
    encoder_ms: float


@dataclass(frozen=True, slots=True)
class VariantResult:
    """What one variant did.

    Parameters
    ----------
    tokens, texts : list
        By clip.
    seconds : float
        Time for all clips, one after another.
    """

    variant: Variant
    load_seconds: float
    encoder_bytes: int
    decoder_bytes: int
    quantization: str
    tokens: list[list[int]] = field(repr=False)
    texts: list[str] = field(repr=False)
    seconds: float
    lengths: list[LengthResult]


@dataclass(slots=True)
class _Loaded:
    variant: Variant
    recognizer: Recognizer
    load_seconds: float
    tokens: list[list[int]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    seconds: float = 0.0


def compare(
    variants: Sequence[Variant],
    clips: Sequence[Float32],
    lengths: Sequence[float] = LENGTHS_SECONDS,
    *,
    threads: int | None = None,
    runs: int = LATENCY_RUNS,
    progress: Progress = silent,
) -> list[VariantResult]:
    """Run every variant on every clip, interleaved, and their encoders on joined audio of several lengths.

    Parameters
    ----------
    variants : sequence of Variant
        Two or more; the first is what the others are held against.
    clips : sequence of ndarray
        Mono recordings at 16 kHz.
    lengths : sequence of float
        Seconds; those longer than all recordings together are left out.
    threads : int, optional
        Threads a stage.
    runs : int
        Encoder runs a length and variant, of which the median counts.
    progress : callable, optional
        Told how far the work is.

    Raises
    ------
    OptionError
        For fewer than two variants, or models that do not share vocabulary and frame rate.
    """
    if len(variants) < 2:
        raise OptionError("variants", [variant.model for variant in variants], "two at least")
    loaded = [_load(variant, threads) for variant in variants]
    try:
        _check_alike(loaded)
        for index, samples in enumerate(clips):
            progress("transcribing", index, len(clips))
            for one in loaded:
                _transcribe(one, samples)
        progress("transcribing", len(clips), len(clips))
        by_length = _lengths(loaded, clips, lengths, runs, progress)
    finally:
        for one in loaded:
            one.recognizer.close()
    return [_result(one, rows) for one, rows in zip(loaded, by_length, strict=True)]


def _load(variant: Variant, threads: int | None) -> _Loaded:
    from tdt.loading import load

    precision: Any = variant.precision
    start = time.perf_counter()
    recognizer = load(variant.model, provider=variant.provider, precision=precision, threads=threads)
    return _Loaded(variant, recognizer, time.perf_counter() - start)


def _check_alike(loaded: Sequence[_Loaded]) -> None:
    first = loaded[0].recognizer.spec
    for one in loaded[1:]:
        spec = one.recognizer.spec
        if spec.pieces != first.pieces or spec.subsampling != first.subsampling:
            expected = f"a model of the vocabulary and frame rate of {loaded[0].variant.model}: tokens are compared"
            raise OptionError("variant", one.variant.model, expected)


def _transcribe(one: _Loaded, samples: Float32) -> None:
    start = time.perf_counter()
    features = one.recognizer.features([samples])
    (hypothesis,) = one.recognizer.decode(one.recognizer.encode(features))
    one.seconds += time.perf_counter() - start
    one.tokens.append([int(token) for token in hypothesis.token_ids])
    one.texts.append(one.recognizer.transcript(hypothesis, len(samples) / SAMPLE_RATE_HZ).text)


def joined(clips: Sequence[Float32], seconds: float) -> list[Float32]:
    """Join recordings and cut them into at most four pieces of `seconds`."""
    size = int(seconds * SAMPLE_RATE_HZ)
    whole = np.concatenate(list(clips))
    return [whole[start : start + size] for start in range(0, len(whole) - size + 1, size)][:4]


def _lengths(
    loaded: Sequence[_Loaded],
    clips: Sequence[Float32],
    lengths: Sequence[float],
    runs: int,
    progress: Progress,
) -> list[list[LengthResult]]:
    rows: list[list[LengthResult]] = [[] for _ in loaded]
    for done, seconds in enumerate(lengths):
        progress("encoding by length", done, len(lengths))
        pieces = joined(clips, seconds)
        if not pieces:
            continue
        outputs, times = _encode(loaded, pieces, runs)
        for index, (frames, spent) in enumerate(zip(outputs, times, strict=True)):
            cosines, error = agreement(outputs[0], frames)
            millis = 1e3 * statistics.median(spent)
            mean, worst = float(cosines.mean()), float(cosines.min(initial=1.0))
            rows[index].append(LengthResult(seconds, len(pieces), mean, worst, error, millis))
    progress("encoding by length", len(lengths), len(lengths))
    return rows


def _encode(
    loaded: Sequence[_Loaded], pieces: Sequence[Float32], runs: int
) -> tuple[list[list[Float32]], list[list[float]]]:
    """Return the encoder outputs ``[T', D]`` of each variant, and the times of each run."""
    outputs: list[list[Float32]] = [[] for _ in loaded]
    times: list[list[float]] = [[] for _ in loaded]
    for number, piece in enumerate(pieces):
        features = [one.recognizer.features([piece]) for one in loaded]
        for _ in range(runs if number == 0 else 1):
            for index, one in enumerate(loaded):
                start = time.perf_counter()
                encoded = one.recognizer.encode(features[index])
                times[index].append(time.perf_counter() - start)
                last = encoded.frames[0, : int(encoded.lengths[0])]
                if len(outputs[index]) == number:
                    outputs[index].append(last)
    return outputs, times


def agreement(reference: Sequence[Float32], other: Sequence[Float32]) -> tuple[Float32, float]:
    """Return the cosine of every frame, and the relative error over all, of encoder outputs ``[T', D]``."""
    cosines, wrong, right = [], 0.0, 0.0
    for exact, frames in zip(reference, other, strict=True):
        dots = np.sum(exact * frames, axis=1, dtype=np.float64)
        norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(frames, axis=1)
        cosines.append(np.asarray(dots / np.maximum(norms, 1e-30), np.float32))
        wrong += float(np.square(frames - exact).sum())
        right += float(np.square(exact).sum())
    return np.concatenate(cosines), float(np.sqrt(wrong / max(right, 1e-30)))


def _result(one: _Loaded, rows: list[LengthResult]) -> VariantResult:
    from tdt.onnxfile import read_graph

    files = one.recognizer.files
    encoder = read_graph(files.encoder)
    others = [read_graph(path) for path in (files.decoder_joint, files.decoder, files.joiner) if path is not None]
    return VariantResult(
        one.variant,
        one.load_seconds,
        encoder.file_bytes + encoder.external_bytes,
        sum(graph.file_bytes + graph.external_bytes for graph in others),
        encoder.quantization,
        one.tokens,
        one.texts,
        one.seconds,
        rows,
    )


def token_edits(reference: VariantResult, other: VariantResult) -> list[int]:
    """Return, by clip, the edits between the token sequences of two variants."""
    return [edit_distance(left, right) for left, right in zip(reference.tokens, other.tokens, strict=True)]
