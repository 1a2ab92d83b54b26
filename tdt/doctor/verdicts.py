"""Judge an installation: pure decisions over measured facts, so that every verdict can be tested without a card.

:mod:`tdt.doctor.measuring` measures; this module says what is wrong with what it measured.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from tdt.runtime import Driver

    Float32 = npt.NDArray[np.float32]

Severity = Literal["error", "warning", "note"]
CPU = "CPUExecutionProvider"

# Features are computed in float32 everywhere; the same bounds as against NeMo's.
FEATURES_ATOL, FEATURES_RTOL = 5e-4, 1e-4


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a provider may be from the CPU.

    Parameters
    ----------
    cosine : float
        Least cosine between the encoder outputs of an utterance.
    error : float
        Most difference of a number, in parts of the largest one.
    tokens : float
        Least share of equal tokens.
    frames : int
        Most encoder frames by which a token may move.
    """

    cosine: float
    error: float
    tokens: float
    frames: int


# Rounding of 24, 11, 11, 8 and about 7 bits, grown through some tens of layers; NVIDIA/TensorRT#4822 was at a cosine of
# 0.35 in float32 and 0.83 in bfloat16.
TOLERANCES: dict[str, Tolerance] = {
    "fp32": Tolerance(0.9999, 0.02, 1.0, 0),
    "tf32": Tolerance(0.999, 0.05, 1.0, 1),
    "fp16": Tolerance(0.995, 0.15, 0.95, 1),
    "bf16": Tolerance(0.98, 0.3, 0.9, 1),
    "int8": Tolerance(0.95, 0.5, 0.8, 2),
}


@dataclass(frozen=True, slots=True)
class Environment:
    """What is installed.

    Parameters
    ----------
    driver : Driver
        Driver and cards; `problem` says why there is none.
    runtime, runtime_cuda : str
        Versions of ONNX Runtime and of the CUDA that it was built for; empty where it has none.
    providers : tuple of str
        Execution providers compiled into ONNX Runtime, by its names.
    packages : mapping of str to str
        Versions of the distributions that matter.
    owners : mapping of str to tuple of str
        Distributions that install each import name.
    """

    python: str
    platform: str
    processor: str
    driver: Driver
    runtime: str
    runtime_cuda: str
    providers: tuple[str, ...]
    packages: Mapping[str, str]
    owners: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about the environment; an error makes the exit status 1."""

    severity: Severity
    text: str


@dataclass(frozen=True, slots=True)
class Measured:
    """What a provider made of the bundled clips.

    Parameters
    ----------
    provider : str
        As the user writes it.
    execution_provider : str
        ONNX Runtime's name of it.
    numbers : str
        Key of :data:`TOLERANCES`.
    features : tuple of ndarray [shape=(n_mels, T)], float32
        Of each clip, valid frames only.
    encoded : tuple of ndarray [shape=(T', D)], float32
        Encoder output of each clip, all frames that came.
    lengths : tuple of int
        Valid encoder frames of each clip.
    tokens, frames, durations : tuple of tuple of int
        What was decoded.
    nodes : mapping of str to int
        Nodes of the encoder by execution provider.
    computing_on_cpu : mapping of str to int
        Operators on the CPU that are more than shape arithmetic.
    milliseconds : mapping of str to float
        Stage to best time.
    redecoded : mapping of str to tuple of tuple of int
        Tokens that other decoders make of the same encoder output, where the decoder runs on a card: "native" on the
        CPU, and "float16" with such weights on the card.
    """

    provider: str
    execution_provider: str
    numbers: str
    features: tuple[Float32, ...]
    encoded: tuple[Float32, ...]
    lengths: tuple[int, ...]
    tokens: tuple[tuple[int, ...], ...]
    frames: tuple[tuple[int, ...], ...]
    durations: tuple[tuple[int, ...], ...]
    nodes: Mapping[str, int]
    computing_on_cpu: Mapping[str, int]
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    redecoded: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Expected:
    """NeMo's own answer for the bundled clips, one entry a clip."""

    tokens: tuple[tuple[int, ...], ...]
    frames: tuple[tuple[int, ...], ...]
    durations: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison."""

    name: str
    ok: bool
    found: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be said of one provider."""

    provider: str
    checks: tuple[Check, ...]
    nodes: Mapping[str, int] = field(default_factory=dict)
    milliseconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.ok for check in self.checks)


@dataclass(frozen=True, slots=True)
class Report:
    """All that `tdt doctor` says; `skipped` maps providers to why they were not checked."""

    environment: Environment
    findings: tuple[Finding, ...]
    verdicts: tuple[Verdict, ...]
    skipped: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return all(verdict.ok for verdict in self.verdicts) and not any(f.severity == "error" for f in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values, for JSON."""
        verdicts = [{**asdict(verdict), "ok": verdict.ok} for verdict in self.verdicts]
        return {**asdict(self), "verdicts": verdicts, "ok": self.ok}


def judge(measured: Measured, reference: Measured) -> Verdict:
    """Compare a provider with the CPU.

    Parameters
    ----------
    measured : Measured
        Of the provider.
    reference : Measured
        Of the CPU, over the same clips and model.
    """
    allowed = TOLERANCES[measured.numbers]
    checks = [_placement(measured), _finite(measured), _features(measured, reference), _lengths(measured, reference)]
    if checks[1].ok and checks[3].ok:
        checks += _encoder(measured, reference, allowed)
    checks += _decoded(measured, reference.tokens, reference.frames, allowed)
    return Verdict(measured.provider, tuple(checks), measured.nodes, measured.milliseconds)


def judge_cpu(measured: Measured, expected: Expected | None) -> Verdict:
    """Judge the CPU: by NeMo's own answer where there is one, else by its numbers being numbers.

    Parameters
    ----------
    measured : Measured
    expected : Expected or None
        None for a model whose answer is not known.
    """
    checks = [_finite(measured)]
    if expected is not None:
        exact = TOLERANCES["fp32"]
        checks += _decoded(measured, expected.tokens, expected.frames, exact)
        same = measured.durations == expected.durations
        checks.append(Check("durations", same, "as NeMo's" if same else "other than NeMo's"))
    return Verdict(measured.provider, tuple(checks), measured.nodes, measured.milliseconds)


def failed(provider: str, error: BaseException) -> Verdict:
    """Return the verdict on a provider that does not run at all."""
    return Verdict(provider, (Check("runs", False, f"{type(error).__name__}: {error}"),))


def _placement(measured: Measured) -> Check:
    computing = measured.computing_on_cpu
    here = measured.nodes.get(measured.execution_provider, 0)
    if here == 0:
        return Check("placement", False, f"no node runs on {measured.execution_provider}: the CPU took over")
    if computing and measured.execution_provider != CPU:
        listed = ", ".join(f"{number} {operator}" for operator, number in sorted(computing.items())[:6])
        return Check("placement", False, f"{sum(computing.values())} computing nodes fell back to the CPU: {listed}")
    return Check("placement", True, ", ".join(f"{number} nodes on {name}" for name, number in measured.nodes.items()))


def _finite(measured: Measured) -> Check:
    valid = [frames[:length] for frames, length in zip(measured.encoded, measured.lengths, strict=False)]
    bad = sum(int((~np.isfinite(array)).sum()) for array in (*measured.features, *valid))
    return Check("finite numbers", bad == 0, "all finite" if bad == 0 else f"{bad} numbers are NaN or infinite")


def _features(measured: Measured, reference: Measured) -> Check:
    worst = 0.0
    for ours, theirs in zip(measured.features, reference.features, strict=True):
        if ours.shape != theirs.shape:
            return Check("features", False, f"shape {ours.shape}, on the CPU {theirs.shape}")
        excess = np.abs(ours - theirs) / (FEATURES_ATOL + FEATURES_RTOL * np.abs(theirs))
        worst = max(worst, float(excess.max(initial=0.0)) if np.isfinite(excess).all() else float("inf"))
    return Check("features", worst <= 1.0, f"largest difference {worst:.3g} of the allowed")


def _lengths(measured: Measured, reference: Measured) -> Check:
    same = measured.lengths == reference.lengths
    enough = all(len(frames) >= length for frames, length in zip(measured.encoded, reference.lengths, strict=True))
    found = f"{list(measured.lengths)}" + ("" if same else f", on the CPU {list(reference.lengths)}")
    return Check("lengths", same and enough, found if enough else f"{found}; fewer frames came than these")


def _encoder(measured: Measured, reference: Measured, allowed: Tolerance) -> list[Check]:
    cosine, error = 1.0, 0.0
    for ours, theirs, length in zip(measured.encoded, reference.encoded, reference.lengths, strict=True):
        if ours.shape[1] != theirs.shape[1]:
            return [Check("encoder", False, f"frames of {ours.shape[1]} numbers, on the CPU {theirs.shape[1]}")]
        a, b = ours[:length].astype(np.float64).ravel(), theirs[:length].astype(np.float64).ravel()
        norm = float(np.linalg.norm(a) * np.linalg.norm(b))
        cosine = min(cosine, float(a @ b) / norm if norm else float(np.array_equal(a, b)))
        error = max(error, float(np.abs(a - b).max(initial=0.0) / max(float(np.abs(b).max(initial=0.0)), 1e-9)))
    return [
        Check("encoder cosine", cosine >= allowed.cosine, f"{cosine:.6f}, at least {allowed.cosine:g} wanted"),
        Check("encoder error", error <= allowed.error, f"{error:.2e} of the largest value, at most {allowed.error:g}"),
    ]


def _decoded(
    measured: Measured,
    tokens: tuple[tuple[int, ...], ...],
    frames: tuple[tuple[int, ...], ...],
    allowed: Tolerance,
) -> list[Check]:
    total = sum(map(len, tokens))
    wrong = sum(map(distance, measured.tokens, tokens)) + abs(len(measured.tokens) - len(tokens))
    share = 1.0 - wrong / max(total, 1)
    checks = [Check("tokens", share >= allowed.tokens, f"{total - wrong} of {total} as expected")]
    moved = [
        abs(ours - theirs)
        for ids, own, other_ids, other in zip(measured.tokens, measured.frames, tokens, frames, strict=False)
        if ids == other_ids
        for ours, theirs in zip(own, other, strict=True)
    ]
    if moved:
        most = max(moved)
        checks.append(Check("times", most <= allowed.frames, f"tokens moved by {most} encoder frames at most"))
    return checks


def distance(a: Sequence[int], b: Sequence[int]) -> int:
    """Return the edit distance of two token sequences (Levenshtein)."""
    row = list(range(len(b) + 1))
    for i, token in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (token != other))
    return row[-1]
