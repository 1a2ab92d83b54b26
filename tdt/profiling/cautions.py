"""What may be wrong with a measurement, and what to do about it: a closed set, each with its remedy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tdt.profiling.breakdown import Breakdown
    from tdt.profiling.gpu import GpuUse
    from tdt.profiling.placement import Placement
    from tdt.profiling.stats import Summary

MIN_RUNS = 10
MIN_SECONDS = 3.0
SLOW_FIRST = 3.0  # first run over median
UNSTABLE_RATIO = 1.5  # 95th percentile over median: a third of the time is somebody else's
TRANSFER_SHARE = 0.25
IDLE_PERCENT = 50.0


class Caution(Enum):
    """Name and remedy of each caution."""

    FELL_BACK = (
        "Another provider runs than was asked for. `tdt doctor` names the missing library and how to install it."
    )
    PARTLY_ON_CPU = (
        "Computing nodes run on the CPU between device nodes, with copies each way. `tdt inspect --placement` lists "
        "them; an 8-bit file made by dynamic quantisation belongs on provider='cpu', `tdt quantize` makes one for "
        "the device."
    )
    JIT_INSIDE_TIMING = (
        "Code was compiled during a timed run. Run again: the second process start finds it in the cache; if it "
        "does not, make the cache folder writable (NUMBA_CACHE_DIR)."
    )
    FIRST_RUN_SLOW = (
        "The first run took much longer than the others (it is not in the statistics). Call `warmup()` before the "
        "first request; with batches, once for each batch size."
    )
    UNSTABLE = (
        "Runs differ widely: something else used the machine. Close it and run again, or compare minima, not medians."
    )
    TRANSFER_BOUND = (
        "Copies between host and device take a large part of the time. Keep features and encoder output on the "
        "device, and batch more."
    )
    GPU_IDLE = (
        "The card waits most of the time. Raise the batch size and see the stage table: what runs on the host "
        "(decoding, reading) bounds it."
    )
    TOO_SHORT = "Too few runs or too little time for a median to hold. Measure longer: --min-runs, --min-seconds."


@dataclass(frozen=True, slots=True)
class Raised:
    """A caution with what was seen."""

    caution: Caution
    seen: str

    def __str__(self) -> str:
        return f"{self.caution.name.lower().replace('_', '-')}: {self.seen} {self.caution.value}"


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known of one measured row.

    Parameters
    ----------
    seconds : Summary
        Of a run.
    first_seconds : float
        The very first run, before any warm-up.
    asked, active : str
        Provider asked for, and the one that the encoder's session runs on.
    compiled_ms : float
        Time spent compiling inside the runs that were timed.
    profile : Breakdown or None
    gpu : GpuUse or None
    placement : Placement or None
    """

    seconds: Summary
    first_seconds: float
    asked: str = "cpu"
    active: str = "cpu"
    compiled_ms: float = 0.0
    profile: Breakdown | None = None
    gpu: GpuUse | None = None
    placement: Placement | None = None


def cautions(seen: Observation) -> list[Raised]:
    """Return every caution that the observation calls for, the gravest first."""
    return [*_placement(seen), *_timing(seen), *_device(seen)]


def _placement(seen: Observation) -> list[Raised]:
    if seen.active != seen.asked:
        return [Raised(Caution.FELL_BACK, f"{seen.asked} was asked for, {seen.active} runs.")]
    if seen.asked != "cpu" and seen.placement is not None and seen.placement.computing_on_cpu:
        return [Raised(Caution.PARTLY_ON_CPU, f"{seen.placement}.")]
    return []


def _timing(seen: Observation) -> list[Raised]:
    raised, seconds = [], seen.seconds
    if seen.compiled_ms > 0:
        raised.append(Raised(Caution.JIT_INSIDE_TIMING, f"{seen.compiled_ms:.0f} ms of it."))
    runs, total = len(seconds.samples), sum(seconds.samples)
    if runs < MIN_RUNS or total < MIN_SECONDS:
        raised.append(Raised(Caution.TOO_SHORT, f"{runs} runs, {total:.1f} s."))
    if seconds.median > 0 and seconds.p95 > UNSTABLE_RATIO * seconds.median:
        raised.append(Raised(Caution.UNSTABLE, f"95th percentile {seconds.p95 / seconds.median:.1f} × the median."))
    if seconds.median > 0 and seen.first_seconds > SLOW_FIRST * seconds.median:
        ratio = seen.first_seconds / seconds.median
        raised.append(Raised(Caution.FIRST_RUN_SLOW, f"{seen.first_seconds:.2f} s, {ratio:.0f} × the median."))
    return raised


def _device(seen: Observation) -> list[Raised]:
    raised = []
    rows = seen.profile.stages if seen.profile is not None else ()
    share = sum(row.share for row in rows if row.name in {"h2d", "d2h"})
    if share > TRANSFER_SHARE:
        raised.append(Raised(Caution.TRANSFER_BOUND, f"h2d and d2h are {share:.0%} of the wall time."))
    if seen.asked != "cpu" and seen.gpu is not None and seen.gpu.sm_percent is not None:
        busy = seen.gpu.sm_percent
        if busy < IDLE_PERCENT:
            raised.append(Raised(Caution.GPU_IDLE, f"A kernel ran {busy:.0f} % of the time."))
    return raised
