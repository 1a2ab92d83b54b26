"""What a doctor finds and says, as plain values: importing this needs nothing that might be broken."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    from tdt.runtime import Driver

    Float32 = npt.NDArray[np.float32]

Severity = Literal["error", "warning", "note"]


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
    broken : mapping of str to str
        Packages that are needed and cannot be used, and why.
    outdated : mapping of str to tuple of str
        Distributions that are older than needed: their version and the least one.
    compiles : bool
        Whether Numba's compiler is left on.
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
    broken: Mapping[str, str] = field(default_factory=dict)
    outdated: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    compiles: bool = True


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
    ending : ndarray [shape=(T', D)], float32, optional
        Encoder frames of the last second of a long clip; None where it is longer than an engine takes.
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
    ending: Float32 | None = None


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


def failed(provider: str, error: BaseException) -> Verdict:
    """Return the verdict on a provider that does not run at all."""
    return Verdict(provider, (Check("runs", False, f"{type(error).__name__}: {error}"),))
