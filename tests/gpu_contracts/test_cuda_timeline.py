"""The timeline over the do-nothing runtime: what each stage did is what its clock label says.

Real: which runtime calls a stage makes (copies, launches, waits). Not real: how long they take.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tdt
from tdt.decoding.native import NativeEngine
from tdt.profiling.breakdown import break_down
from tdt.runtime.card_context import CardContext
from tdt.timeline import CALL, Timeline

from .fake_runtime import Counters, counters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tdt.stages import Encoded
    from tdt.timeline import Clock


class Watching(Timeline):
    """Notes which runtime calls were made in each stage: inside its span, or between the events that time it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[str, Counters] = {}
        self.events: list[Counters] = []

    def note(self, name: str, before: Counters, after: Counters) -> None:
        made = self.calls.get(name, Counters(*[0] * len(Counters._fields)))
        self.calls[name] = Counters(*(a + b - c for a, b, c in zip(made, after, before, strict=True)))

    @contextmanager
    def span(self, name: str, *, clock: Clock = "host") -> Iterator[None]:  # type: ignore[override]
        before = counters()
        with super().span(name, clock=clock):
            yield
        self.note(name, before, counters())

    def tally(self, name: str, total_ns: int, count: int = 1, *, clock: Clock = "host") -> None:
        super().tally(name, total_ns, count, clock=clock)
        if clock == "cuda-event":  # stages end in the order in which they began
            self.note(name, self.events.pop(0), self.events.pop(0))

    @contextmanager
    def watching(self) -> Iterator[None]:
        record = CardContext.event_record

        def noted(context: CardContext, event: int, stream: int) -> None:
            record(context, event, stream)
            self.events.append(counters())

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(CardContext, "event_record", noted)
            yield


@pytest.fixture(scope="module")
def timeline() -> Watching:
    samples = np.random.default_rng(0).standard_normal(40000).astype(np.float32)
    given = NativeEngine._frames

    def zeros(engine: NativeEngine, encoded: Encoded) -> Any:
        """Return zeros: where nothing is computed, memory holds whatever it was used for, now and then no numbers."""
        return np.zeros_like(given(engine, encoded))

    with (
        pytest.MonkeyPatch.context() as patch,
        tdt.load(encoder_provider="cuda:0", decoder_provider="cpu") as recognizer,
    ):
        patch.setattr(NativeEngine, "_frames", zeros)
        recognizer.transcribe(samples)
        watching = Watching()
        with watching.watching():
            recognizer.transcribe(samples, timeline=watching)
    return watching


def test_device_stages_are_timed_by_the_device(timeline: Watching) -> None:
    rows = {row.name: row for row in break_down(timeline).stages}
    assert {rows[name].clock for name in ("h2d", "encoder", "d2h")} == {"cuda-event"}
    assert timeline.calls["h2d"].host_to_device == 2  # features, lengths
    assert timeline.calls["h2d"].launches == 0
    assert timeline.calls["encoder"].launches > 300
    assert timeline.calls["encoder"].synchronisations >= 1
    assert timeline.calls["d2h"].device_to_host == 1
    # Which takes longer says nothing here: the device does nothing, and a busy machine stops threads anywhere.
    assert min(rows["encoder"].total_ms, rows["d2h"].total_ms) > 0
    assert not timeline.events


def test_decoding_on_the_device_is_timed_by_it() -> None:
    samples = np.random.default_rng(0).standard_normal(40000).astype(np.float32)
    with tdt.load(provider="cuda:0", decoder="onnx") as recognizer:
        watching = Watching()
        with watching.watching():
            # Kernels that do nothing leave numbers that may not decode: an error stands in the list then.
            recognizer.transcribe([samples], errors="return", timeline=watching)
    rows = {row.name: row for row in break_down(watching).stages}
    assert rows["joint"].clock == "cuda-event"
    assert watching.calls["joint"].launches > 100
    assert watching.calls["joint"].synchronisations >= 1
    assert {row.clock for row in rows.values()} == {"host", "cuda-event"}


def test_host_stages_do_not_touch_the_device(timeline: Watching) -> None:
    rows = [row for row in break_down(timeline).stages if row.clock == "host"]
    for name in {row.name for row in rows} & set(timeline.calls) - {CALL}:
        assert timeline.calls[name].launches == 0, name
        assert timeline.calls[name].host_to_device == 0, name


def test_nothing_is_copied_outside_the_copying_stages(timeline: Watching) -> None:
    inside = [timeline.calls[name] for name in ("h2d", "encoder", "d2h")]
    whole = timeline.calls[CALL]
    assert sum(made.host_to_device for made in inside) == whole.host_to_device
    assert sum(made.device_to_host for made in inside) == whole.device_to_host


def test_stages_still_add_up(timeline: Watching) -> None:
    table = break_down(timeline)
    assert sum(row.total_ms for row in table.stages) == pytest.approx(table.wall_ms)
