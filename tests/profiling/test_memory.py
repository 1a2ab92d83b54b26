"""Memory by stage, growth over many clips, and the card's figures through a double of NVML."""

from __future__ import annotations

import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tdt.errors import OptionError
from tdt.profiling import environment, gpu, memory
from tdt.runtime.driver import card_uuid

if TYPE_CHECKING:
    from pathlib import Path

MIB = 2**20


def touch(mebibytes: int) -> np.ndarray[Any, Any]:
    return np.ones(mebibytes * MIB, dtype=np.uint8)


def stages_that_allocate() -> dict[str, memory.StageMemory]:
    recorder = memory.MemoryRecorder()
    touch(1)
    with recorder.span("call"):
        with recorder.span("features"):
            touch(64)
        with recorder.span("encoder"):
            kept = touch(16)
    assert kept.size == 16 * MIB
    return {row.name: row for row in recorder.rows()}


def as_allocated(rows: dict[str, memory.StageMemory]) -> bool:
    """64 MiB came and went in features, 16 MiB stayed in the encoder; a few MiB of other allocations are let pass."""
    return (
        rows["features"].peak_rss_bytes - rows["encoder"].peak_rss_bytes > 40 * MIB
        and abs(rows["features"].grown_bytes) < 8 * MIB
        and abs(rows["encoder"].grown_bytes - 16 * MIB) < 8 * MIB
        and rows["call"].peak_rss_bytes >= rows["features"].peak_rss_bytes
    )


@pytest.mark.skipif(not memory.reset_peak(), reason="this system cannot reset the peak of a process (Linux can)")
def test_peaks_are_charged_to_the_stage_that_made_them() -> None:
    # In a process of its own: memory that earlier tests gave back would be used again, and nothing would grow.
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('fresh', {__file__!r})\n"
        "fresh = importlib.util.module_from_spec(spec)\n"
        "sys.modules['fresh'] = fresh\n"
        "spec.loader.exec_module(fresh)\n"
        "sys.exit(not fresh.as_allocated(fresh.stages_that_allocate()))\n"
    )
    assert any(subprocess.run([sys.executable, "-c", code], check=False).returncode == 0 for _ in range(3))


def test_other_threads_are_left_alone() -> None:
    recorder = memory.MemoryRecorder()

    def elsewhere() -> None:
        with recorder.span("read"):
            recorder.tally("joint", 1)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert recorder.rows() == []


def test_soak_finds_a_leak_and_its_size() -> None:
    size = [1000 * MIB]

    def leak(_: int) -> None:
        size[0] += 4096

    report = memory.soak(leak, 1000, read_rss=lambda: size[0], settle=lambda: None)
    assert report.growth_bytes == 900 * 4096
    assert report.bytes_per_clip == pytest.approx(4096)
    assert len(report.rss_bytes) == 10


def test_soak_gives_every_clip_its_number_and_needs_enough_of_them() -> None:
    seen: list[int] = []
    report = memory.soak(seen.append, 25, read_rss=lambda: 7, settle=lambda: None)
    assert seen == list(range(25))
    assert (report.growth_bytes, report.bytes_per_clip) == (0, 0.0)
    with pytest.raises(OptionError, match="at least 20 clips"):
        memory.soak(seen.append, 19)


class FakeNvml:
    """A card that answers from a list, and some questions not at all."""

    NVML_CLOCK_SM = 1

    class NVMLError(Exception):
        pass

    def __init__(self, *, energy: bool = True) -> None:
        self.reads = 0
        self.energy = energy
        self.enough = threading.Event()

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return f"card {index}"

    def nvmlDeviceGetName(self, handle: str) -> bytes:
        return b"Imaginary 1"

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> SimpleNamespace:
        assert handle == "card 0"
        self.reads += 1
        if self.reads >= 3:
            self.enough.set()
        return SimpleNamespace(gpu=10 * min(self.reads, 3), memory=5)

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> SimpleNamespace:
        return SimpleNamespace(used=100 + min(self.reads, 2))

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:
        return 70_000

    def nvmlDeviceGetClockInfo(self, handle: str, kind: int) -> int:
        raise self.NVMLError("not supported")

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:
        if not self.energy:
            raise self.NVMLError("not supported")
        return 5_000 if self.reads == 0 else 8_500


@pytest.mark.parametrize("energy", [True, False])
def test_the_card_is_sampled_during_the_run(energy: bool) -> None:
    nvml = FakeNvml(energy=energy)
    sampler = gpu.GpuSampler(nvml, interval_seconds=0.0)
    with sampler:
        assert nvml.enough.wait(10)
    use = sampler.use()
    assert use.samples >= 3
    assert use.sm_percent is not None
    assert 20 <= use.sm_percent <= 30
    assert (use.memory_percent, use.power_watts, use.sm_clock_mhz) == (5, 70, None)
    assert use.energy_joules == (3.5 if energy else None)
    assert use.peak_memory_bytes == 102
    assert sampler.name() == "Imaginary 1"


@pytest.mark.parametrize(
    ("known", "uuid", "expected"),
    [
        ({"GPU-abc": "the card"}, "abc", "the card"),
        ({"MIG-abc": "the slice"}, "abc", "the slice"),
        ({"GPU-abc": "the card"}, "", "card 1"),
        ({}, "abc", "card 1"),
    ],
)
def test_the_card_is_found_by_its_uuid(known: dict[str, str], uuid: str, expected: str) -> None:
    nvml: Any = FakeNvml()

    def by_uuid(name: str) -> str:
        if name not in known:
            raise FakeNvml.NVMLError(name)
        return known[name]

    nvml.nvmlDeviceGetHandleByUUID = by_uuid
    assert gpu.GpuSampler(nvml, 1, uuid)._handle == expected


def test_the_driver_tells_a_cards_uuid(tmp_path: Path) -> None:
    source = tmp_path / "driver.c"
    source.write_text(
        "int cuInit(unsigned f) { return 0; }"
        "int cuDeviceGet(int *d, int n) { *d = n; return n > 1 ? 101 : 0; }"
        "int cuDeviceGetUuid_v2(char *u, int d) { for (int i = 0; i < 16; i++) u[i] = i + 16 * d; return 0; }"
    )
    library = tmp_path / "libdriver.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    assert card_uuid(1, str(library)) == "10111213-1415-1617-1819-1a1b1c1d1e1f"
    assert card_uuid(2, str(library)) == ""
    assert card_uuid(0, "libsurely-not-there.so.1") == ""


def test_without_a_card_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    def absent() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", absent)
    sampler, reason = gpu.open_sampler()
    assert sampler is None
    assert "no NVIDIA card or driver answers" in reason


def test_environment_names_what_the_figures_depend_on(tmp_path: Any) -> None:
    block = environment.environment_block()
    assert block["cores"] >= 1
    assert {"numpy", "numba"} <= set(block["packages"])
    assert block["packages"]["numpy"] in environment.describe(block)
    graph = tmp_path / "encoder.onnx"
    graph.write_bytes(b"abc")
    (tmp_path / "encoder.onnx.data").write_bytes(b"")
    # SHA-256 of "abc" and of nothing: FIPS 180-4's own examples.
    assert environment.file_hashes([graph]) == {
        "encoder.onnx": "ba7816bf8f01cfea",
        "encoder.onnx.data": "e3b0c44298fc1c14",
    }
