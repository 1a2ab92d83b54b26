"""Which card and driver, at which clocks as found, and which packages."""

from __future__ import annotations

import platform
import sys

from common import emit

from tdt.dependencies import installed
from tdt.profiling.gpu import nvml_handle
from tdt.runtime.driver import card_uuid, read_driver
from tdt.version import __version__

PACKAGES = (
    "onnxruntime-gpu", "onnxruntime", "numpy", "numba", "cupy-cuda13x", "cupy-cuda12x", "nvidia-cudnn-cu13",
    "nvidia-cublas", "nvidia-cuda-nvrtc", "tensorrt-cu13", "onnx-asr",
)  # fmt: skip
_MHZ = ("SM", "MEM")


def main() -> int:
    driver = read_driver()
    emit(python=platform.python_version(), machine=platform.platform(), tdt=__version__, packages=installed(PACKAGES))
    if driver.problem:
        emit(problem=driver.problem)
        return 1
    for card in driver.cards:
        sm, memory_gib = "{}{}".format(*card.capability), round(card.memory_bytes / 2**30, 1)
        emit(card=card.name, sm=sm, memory_gib=memory_gib,
             driver=driver.version, cuda=".".join(map(str, driver.cuda)))  # fmt: skip
    emit(**clocks())
    return 0


def clocks() -> dict[str, int | str]:
    """Return clocks and power of the first card as they are; nothing is set."""
    try:
        import pynvml as nvml

        nvml.nvmlInit()
        handle = nvml_handle(nvml, 0, card_uuid(0))
        kinds = {"SM": nvml.NVML_CLOCK_SM, "MEM": nvml.NVML_CLOCK_MEM}
        now = {f"{name.lower()}_mhz": nvml.nvmlDeviceGetClockInfo(handle, kinds[name]) for name in _MHZ}
        most = {f"{name.lower()}_mhz_most": nvml.nvmlDeviceGetMaxClockInfo(handle, kinds[name]) for name in _MHZ}
        return {**now, **most, "power_limit_w": nvml.nvmlDeviceGetEnforcedPowerLimit(handle) // 1000}
    except Exception as error:  # noqa: BLE001  # NVML is a convenience here
        return {"clocks": f"unknown ({error})"}


if __name__ == "__main__":
    sys.exit(main())
