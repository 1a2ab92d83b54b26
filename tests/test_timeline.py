"""The timeline and its table of stages, with a clock that the test moves by hand."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tdt.profiling.breakdown import break_down
from tdt.timeline import CALL, NULL, Recorder, Timeline

if TYPE_CHECKING:
    from tdt.profiling.breakdown import Breakdown, StageRow

MS = 1_000_000


class FakeClock:
    """Stands still until told to go on."""

    def __init__(self) -> None:
        self.now = 5 * MS

    def __call__(self) -> int:
        return self.now

    def pass_ms(self, milliseconds: float) -> None:
        self.now += round(milliseconds * MS)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def timeline(clock: FakeClock) -> Timeline:
    return Timeline(clock)


def row_of(breakdown: Breakdown, name: str) -> StageRow:
    (found,) = (row for row in (*breakdown.stages, *breakdown.setup, *breakdown.overlapped) if row.name == name)
    return found


def run_call(recorder: Recorder, clock: FakeClock, encoder_ms: float = 20.0) -> None:
    with recorder.span(CALL):
        clock.pass_ms(1)
        with recorder.span("read"):
            clock.pass_ms(4)
        with recorder.span("encoder"):
            clock.pass_ms(encoder_ms)
        clock.pass_ms(10)
        recorder.tally("joint", 6 * MS, 60)
        recorder.tally("predictor", 3 * MS, 10)


def test_stages_and_unaccounted_add_up_to_the_wall_time(timeline: Timeline, clock: FakeClock) -> None:
    run_call(timeline, clock)
    timeline.audio_seconds = 7.0
    table = break_down(timeline)
    assert (table.wall_ms, table.calls) == (35.0, 1)
    assert [row.name for row in table.stages] == ["read", "encoder", "predictor", "joint", "unaccounted"]
    assert [row.total_ms for row in table.stages] == [4.0, 20.0, 3.0, 6.0, 2.0]
    assert sum(row.share for row in table.stages) == pytest.approx(1.0)
    joint = row_of(table, "joint")
    assert (joint.count, joint.p50_ms, joint.per_call_ms) == (60, pytest.approx(0.1), 6.0)
    assert row_of(table, "encoder").per_audio_second_ms == pytest.approx(20 / 7)


def test_percentiles_are_those_of_the_spans(timeline: Timeline, clock: FakeClock) -> None:
    for milliseconds in range(1, 21):
        run_call(timeline, clock, encoder_ms=milliseconds)
    encoder = row_of(break_down(timeline), "encoder")
    assert (encoder.count, encoder.p50_ms, encoder.max_ms) == (20, 10.5, 20.0)
    assert encoder.p95_ms == pytest.approx(19.05)


def test_a_stage_is_not_charged_for_the_stage_inside_it(timeline: Timeline, clock: FakeClock) -> None:
    with timeline.span(CALL), timeline.span("encoder"):
        clock.pass_ms(2)
        with timeline.span("h2d", clock="host+sync"):
            clock.pass_ms(3)
        with timeline.span("d2h", clock="cuda-event"):
            clock.pass_ms(4)
    table = break_down(timeline)
    assert {row.name: row.total_ms for row in table.stages} == {"h2d": 3, "encoder": 2, "d2h": 4, "unaccounted": 0}
    assert [row.clock for row in table.stages] == ["host+sync", "host", "cuda-event", "host"]


def test_setup_stands_apart_with_all_that_is_inside(timeline: Timeline, clock: FakeClock) -> None:
    with timeline.span("load"):
        clock.pass_ms(1)
        with timeline.span("read"):
            clock.pass_ms(10)
        with timeline.span("compile"):
            clock.pass_ms(100)
    with timeline.span("warmup"):
        run_call(timeline, clock)
    run_call(timeline, clock)
    table = break_down(timeline)
    assert (table.wall_ms, table.calls) == (35.0, 1)
    assert row_of(table, "encoder").count == 1
    assert {row.name: row.total_ms for row in table.setup if "warmup/" not in row.name} == {
        "load": 11.0,
        "load/read": 10.0,
        "compile": 100.0,
        "warmup": 35.0,
    }


def test_compiling_inside_a_call_is_not_the_calls_time(timeline: Timeline, clock: FakeClock) -> None:
    with timeline.span(CALL), timeline.span("features"):
        clock.pass_ms(5)
        with timeline.span("compile"):
            clock.pass_ms(1000)
    table = break_down(timeline)
    assert (table.wall_ms, row_of(table, "features").total_ms) == (5.0, 5.0)
    assert row_of(table, "compile").total_ms == 1000.0


def test_other_threads_are_shown_apart(timeline: Timeline, clock: FakeClock) -> None:
    with timeline.span(CALL):

        def prefetch() -> None:
            with timeline.span("read"):
                clock.pass_ms(9)

        thread = threading.Thread(target=prefetch)
        thread.start()
        thread.join()
    table = break_down(timeline)
    assert [row.name for row in table.stages] == ["unaccounted"]
    assert [(row.name, row.total_ms) for row in table.overlapped] == [("read", 9.0)]
    assert table.wall_ms == 9.0


def test_bare_stages_have_the_wall_time_between_first_and_last(timeline: Timeline, clock: FakeClock) -> None:
    with timeline.span("features"):
        clock.pass_ms(3)
    clock.pass_ms(2)
    with timeline.span("load"):
        clock.pass_ms(50)
    with timeline.span("encoder"):
        clock.pass_ms(5)
    table = break_down(timeline)
    assert (table.wall_ms, table.calls) == (10.0, 0)
    assert row_of(table, "unaccounted").total_ms == 2.0


def test_an_empty_timeline_has_an_empty_table(timeline: Timeline) -> None:
    table = break_down(timeline)
    assert (table.wall_ms, [row.total_ms for row in table.stages]) == (0.0, [0.0])


def test_a_span_that_an_error_ends_is_kept(timeline: Timeline, clock: FakeClock) -> None:
    def fail() -> None:
        with timeline.span(CALL), timeline.span("encoder"):
            clock.pass_ms(3)
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        fail()
    assert break_down(timeline).wall_ms == 3.0
    assert timeline.open_spans() == []


@pytest.mark.parametrize("seed", range(20))
def test_shares_add_to_one_however_spans_nest(timeline: Timeline, clock: FakeClock, seed: int) -> None:
    choose = random.Random(seed)

    def nest(depth: int) -> None:
        for _ in range(choose.randint(0, 3)):
            clock.pass_ms(choose.randint(0, 5))
            name = choose.choice(["read", "features", "encoder", "load", "compile", "other", CALL])
            with timeline.span(name):
                clock.pass_ms(choose.randint(0, 5))
                if depth:
                    nest(depth - 1)
                choose_ms = choose.randint(0, 5)
                clock.pass_ms(choose_ms)
                timeline.tally("rule", choose_ms * MS, 3)

    with timeline.span(CALL):
        nest(4)
        clock.pass_ms(1)
    table = break_down(timeline)
    assert sum(row.total_ms for row in table.stages) == pytest.approx(table.wall_ms)
    whole = table.wall_ms + sum(row.total_ms for row in table.setup if "/" not in row.name)
    (call,) = (span for span in timeline.spans if span.path == CALL)
    assert whole == pytest.approx(call.duration_ns / MS)


def test_many_threads_lose_nothing() -> None:
    timeline = Timeline()

    def work() -> None:
        for _ in range(500):
            with timeline.span(CALL), timeline.span("encoder"):
                timeline.tally("joint", 1, 2)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    table = break_down(timeline)
    assert (table.calls, row_of(table, "encoder").count, row_of(table, "joint").count) == (2000, 2000, 4000)


def test_json_has_the_promised_keys(timeline: Timeline, clock: FakeClock) -> None:
    run_call(timeline, clock)
    document = break_down(timeline).to_dict()
    assert document["version"] == 1
    promised = {"name", "total_ms", "share", "count", "p50_ms", "p95_ms", "max_ms", "clock"}
    assert all(promised <= set(row) for row in document["stages"])


def test_recording_nothing_costs_next_to_nothing() -> None:
    def cost(rounds: int) -> float:
        start = time.perf_counter()
        for _ in range(rounds):
            with NULL.span("encoder"):
                pass
            NULL.tally("joint", 1)
        return (time.perf_counter() - start) / rounds

    # A call makes some twenty records and takes 5 ms at the least (a second of audio, tiny model): 1 % is 2.5 µs each.
    assert min(cost(2000) for _ in range(5)) < 2.5e-6
