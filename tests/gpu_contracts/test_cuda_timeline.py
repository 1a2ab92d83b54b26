"""The timeline over the do-nothing runtime: what each span did is what its clock label says.

Real: which runtime calls a stage makes (copies, launches, waits). Not real: how long they take.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest

import tdt
from tdt.timeline import CALL, Timeline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tdt.timeline import Clock

COUNTERS = ("to device", "to host", "on device", "launches", "allocations", "bytes", "waits")


class Watching(Timeline):
    """Notes which runtime calls were made inside each span, those of inner spans included."""

    def __init__(self) -> None:
        super().__init__()
        self.runtime = ctypes.CDLL(os.environ["TDT_FAKE_CUDA"])
        self.calls: dict[str, dict[str, int]] = {}

    def counters(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        out = np.zeros(len(COUNTERS), np.int64)
        self.runtime.fake_cuda_counters(out.ctypes.data_as(ctypes.c_void_p))
        return out

    @contextmanager
    def span(self, name: str, *, clock: Clock = "host") -> Iterator[None]:  # type: ignore[override]
        before = self.counters()
        with super().span(name, clock=clock):
            yield
        made = self.calls.setdefault(name, dict.fromkeys(COUNTERS, 0))
        for counter, count in zip(COUNTERS, self.counters() - before, strict=True):
            made[counter] += int(count)


@pytest.fixture(scope="module")
def timeline() -> Watching:
    samples = np.random.default_rng(0).standard_normal(40000).astype(np.float32)
    with tdt.load(encoder_provider="cuda:0", decoder_provider="cpu") as recognizer:
        recognizer.transcribe(samples)
        watching = Watching()
        recognizer.transcribe(samples, timeline=watching)
    return watching


def test_device_stages_are_timed_after_waiting_for_the_device(timeline: Watching) -> None:
    clocks = {row.name: row.clock for row in timeline.breakdown().stages}
    assert {clocks[name] for name in ("h2d", "encoder", "d2h")} == {"host+sync"}
    assert timeline.calls["h2d"]["to device"] >= 1
    assert timeline.calls["encoder"]["waits"] >= 1
    assert timeline.calls["d2h"]["to host"] >= 1


def test_decoding_on_the_device_waits_for_it_within_its_span() -> None:
    samples = np.random.default_rng(0).standard_normal(40000).astype(np.float32)
    with tdt.load(provider="cuda:0", decoder="onnx") as recognizer:
        watching = Watching()
        # Kernels that do nothing leave numbers that may not decode: an error stands in the list then.
        recognizer.transcribe([samples], errors="return", timeline=watching)
    rows = {row.name: row for row in watching.breakdown().stages}
    assert rows["joint"].clock == "host+sync"
    assert watching.calls["joint"]["waits"] >= 1
    assert {row.clock for row in rows.values()} == {"host", "host+sync"}


def test_host_stages_do_not_touch_the_device(timeline: Watching) -> None:
    rows = [row for row in timeline.breakdown().stages if row.clock == "host"]
    for name in {row.name for row in rows} & set(timeline.calls) - {CALL}:
        assert timeline.calls[name]["launches"] == 0, name
        assert timeline.calls[name]["to device"] == 0, name


def test_nothing_is_copied_outside_the_copying_stages(timeline: Watching) -> None:
    inside = sum(
        timeline.calls[name]["to device"] + timeline.calls[name]["to host"] for name in ("h2d", "encoder", "d2h")
    )
    whole = timeline.calls[CALL]["to device"] + timeline.calls[CALL]["to host"]
    assert inside == whole


def test_stages_still_add_up(timeline: Watching) -> None:
    table = timeline.breakdown()
    assert sum(row.total_ms for row in table.stages) == pytest.approx(table.wall_ms)
