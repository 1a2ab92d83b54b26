"""What the card did during a run, read through NVML: utilisation, clocks, power, energy, memory.

Nothing here is needed on a machine without a card: :func:`open_sampler` then returns None with the reason.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_INTERVAL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class GpuUse:
    """Figures of one card over a run; the fields are the JSON's, None where NVML does not give them.

    Parameters
    ----------
    samples : int
        Readings taken.
    sm_percent, memory_percent : float or None
        Mean share of time in which a kernel ran, and in which device memory was read or written.
    sm_clock_mhz, power_watts : float or None
        Means.
    energy_joules : float or None
        Difference of the card's own counter; it counts every process on the card.
    peak_memory_bytes : int or None
        Most memory in use on the card, every process counted.
    """

    samples: int
    sm_percent: float | None
    memory_percent: float | None
    sm_clock_mhz: float | None
    power_watts: float | None
    energy_joules: float | None
    peak_memory_bytes: int | None


class GpuSampler:
    """Reads a card every 20 ms in a thread of its own, from ``with`` to its end.

    Parameters
    ----------
    nvml : module
        ``pynvml``, or a double of it; initialised.
    device : int
        CUDA's number of it.
    uuid : str, optional
        The card's, from the driver: NVML's own numbers follow another order. Without, the number is taken for NVML's.
    """

    def __init__(self, nvml: Any, device: int = 0, uuid: str = "", interval_seconds: float = _INTERVAL_SECONDS) -> None:
        self._nvml = nvml
        self._handle = nvml_handle(nvml, device, uuid)
        self._interval = interval_seconds
        self._stop = threading.Event()
        self._readings: list[dict[str, float | None]] = []
        self._energy: list[float | None] = []
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._stop.clear()
        self._readings, self._energy = [], [self._energy_joules()]
        self._thread = threading.Thread(target=self._watch, name="tdt-nvml", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._energy.append(self._energy_joules())

    def use(self) -> GpuUse:
        """Return the figures of the run that has ended."""
        begun, ended = self._energy[0], self._energy[-1]
        peak = [reading["memory_bytes"] for reading in self._readings if reading["memory_bytes"] is not None]
        return GpuUse(
            samples=len(self._readings),
            sm_percent=self._mean("sm_percent"),
            memory_percent=self._mean("memory_percent"),
            sm_clock_mhz=self._mean("sm_clock_mhz"),
            power_watts=self._mean("power_watts"),
            energy_joules=None if begun is None or ended is None else ended - begun,
            peak_memory_bytes=int(max(peak)) if peak else None,
        )

    def name(self) -> str:
        """Return the card's name."""
        name = self._nvml.nvmlDeviceGetName(self._handle)
        return name.decode() if isinstance(name, bytes) else str(name)

    def _watch(self) -> None:
        while True:
            self._readings.append(self._read())
            if self._stop.wait(self._interval):
                return

    def _read(self) -> dict[str, float | None]:
        nvml, handle = self._nvml, self._handle
        rates = self._ask(lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
        memory = self._ask(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
        power = self._ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        return {
            "sm_percent": None if rates is None else rates.gpu,
            "memory_percent": None if rates is None else rates.memory,
            "sm_clock_mhz": self._ask(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
            "power_watts": None if power is None else power / 1e3,
            "memory_bytes": None if memory is None else memory.used,
        }

    def _energy_joules(self) -> float | None:
        millijoules = self._ask(lambda: self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))
        return None if millijoules is None else millijoules / 1e3

    def _ask(self, question: Callable[[], Any]) -> Any:
        """Return the answer, or None where this card or driver has none (NVML_ERROR_NOT_SUPPORTED and its like)."""
        try:
            return question()
        except self._nvml.NVMLError:
            return None

    def _mean(self, key: str) -> float | None:
        values = [reading[key] for reading in self._readings if reading[key] is not None]
        return sum(value for value in values if value is not None) / len(values) if values else None


def open_sampler(device: int = 0) -> tuple[GpuSampler | None, str]:
    """Return a sampler of CUDA's card number `device` and an empty text, or None and the reason why there is none."""
    from tdt.runtime import card_uuid

    try:
        import pynvml
    except ImportError:
        return None, "the package nvidia-ml-py is not installed: pip install nvidia-ml-py"
    try:
        pynvml.nvmlInit()
        return GpuSampler(pynvml, device, card_uuid(device)), ""
    except pynvml.NVMLError as error:
        return None, f"no NVIDIA card or driver answers ({error})"


def nvml_handle(nvml: Any, device: int, uuid: str) -> Any:
    """Return NVML's handle of a card, or of a slice of one (MIG)."""
    for kind in ("GPU", "MIG") if uuid else ():
        try:
            return nvml.nvmlDeviceGetHandleByUUID(f"{kind}-{uuid}")
        except nvml.NVMLError:
            continue
    return nvml.nvmlDeviceGetHandleByIndex(device)
