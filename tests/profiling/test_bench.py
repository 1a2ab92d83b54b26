"""The benchmark's rows, cautions and report, with scripted contenders and no clock but theirs."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdt.errors import MeasurementError, OptionError
from tdt.profiling import bench_runs, stats
from tdt.profiling.bench import Entry, Outcome, run_bench, word_error_rate
from tdt.profiling.breakdown import Breakdown, StageRow
from tdt.profiling.cases import Case, Recording, clip_of, make_cases, read_references, words
from tdt.profiling.cautions import Caution, Observation, cautions
from tdt.profiling.gpu import GpuUse
from tdt.profiling.placement import Placement, summarize_placement
from tdt.profiling.report import Findings, diagnosis, recommendation, report_tables
from tdt.profiling.rows import bench_table, gpu_table, versus
from tdt.profiling.sampling import Budget, measure
from tdt.profiling.tables import to_text
from tdt.profiling.worker import Answer, Facts, Worker
from tdt.runtime.placement import classify
from tdt.runtime.selection import choose_provider
from tests.naive import edit_distance

if TYPE_CHECKING:
    from pathlib import Path

BUDGET = Budget(runs=10, seconds=3.0, most_seconds=60.0, warmup_seconds=0.5)


class Scripted:
    """A contender's process that takes the seconds it was told, and recognises what it was told."""

    def __init__(
        self, seconds: list[float], answers: list[Answer], facts: Facts | None = None, fails: str = ""
    ) -> None:
        self.seconds, self.said, self.told, self.fails = seconds, answers, facts or Facts(), fails
        self.runs = 0
        self.closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.closed = True

    def load(self) -> tuple[float, int]:
        if self.fails == "load":
            raise MeasurementError("scripted", "no such file")
        return 1.5, 1000

    def set_case(self, clips: Any, batch: int) -> None:
        self.clips = clips

    def run(self) -> float:
        if self.fails == "run":
            raise MeasurementError("scripted", "too long")
        self.runs += 1
        return self.seconds[min(self.runs, len(self.seconds)) - 1]

    def peak_bytes(self) -> int:
        return 5 * 2**20

    def answers(self) -> list[Answer]:
        return self.said

    def facts(self) -> Facts:
        return self.told


def case(seconds: float = 4.0, batch: int = 1, reference: str | None = None) -> Case:
    samples = np.zeros(int(16000 * seconds), np.float32)
    return Case(tuple(Recording(f"c{i}", samples, reference) for i in range(batch)), batch)


def bench(scripts: dict[tuple[str, str, str], Scripted], cases: list[Case]) -> Outcome:
    entries = [Entry(key, who, "tiny", provider, precision) for key in scripts for who, precision, provider in [key]]  # type: ignore[arg-type]
    return run_bench(entries, cases, BUDGET, open_runner=lambda _, key: scripts[key])  # type: ignore[index]


def test_rows_hold_what_was_measured() -> None:
    ours = Scripted([9.0, 0.5, *[0.4] * 50], [Answer("hello world", (1, 2, 3, 4))])
    outcome = bench({("tdt", "float32", "cpu"): ours}, [case(reference="hello word")])
    (row,) = outcome.rows
    # The first run and the warm-up do not count; then ten runs of 0.4 s make the three seconds.
    assert (row.first_seconds, row.seconds.samples) == (9.0, (0.4,) * 10)
    assert (row.rtfx, row.tokens_per_second) == (pytest.approx(10.0), pytest.approx(10.0))
    assert (row.load_seconds, row.loaded_bytes, row.peak_bytes) == (1.5, 1000, 5 * 2**20)
    assert (row.agreement, row.agreement_of) == (1.0, "tokens")
    assert row.word_error_rate == 0.5
    assert [raised.caution for raised in row.cautions] == [Caution.FIRST_RUN_SLOW]
    assert ours.closed


def test_contenders_are_compared_on_the_same_case_and_precision() -> None:
    scripts = {
        ("tdt", "float32", "cpu"): Scripted([0.4], [Answer("a b c d", (1, 2, 3, 4))]),
        ("tdt", "int8", "cpu"): Scripted([0.2], [Answer("a b c", (1, 2, 3))]),
        ("peer", "float32", "cpu"): Scripted([0.6], [Answer("a b c x")]),
        ("peer", "int8", "cpu"): Scripted([0.1], [Answer("a b c d")]),
    }
    rows = bench(scripts, [case()]).rows
    assert [row.agreement for row in rows] == [1.0, 0.75, 0.75, 1.0]
    assert [row.agreement_of for row in rows] == ["tokens", "tokens", "words", "words"]
    assert rows[0].faster_than["peer"].value == pytest.approx(1.5)
    assert rows[1].faster_than["peer"].value == pytest.approx(0.5)
    assert rows[2].faster_than == {}
    text = to_text(bench_table(rows))
    assert "1.50 ± 0.00× faster" in text
    assert "2.00 ± 0.00× SLOWER" in text


def test_a_run_for_comparison_only_has_no_row() -> None:
    base = Scripted([0.4], [Answer("a b c d", (1, 2, 3, 4))])
    ours = Scripted([0.2], [Answer("a b c", (1, 2, 3))])
    entries = [
        Entry(ours, "tdt", "tiny", "cpu", "int8"),  # type: ignore[arg-type]
        Entry(base, "tdt", "tiny", "cpu", "float32", measured=False),  # type: ignore[arg-type]
    ]
    (row,) = run_bench(entries, [case()], BUDGET, open_runner=lambda _, one: one).rows  # type: ignore[arg-type,return-value]
    assert (row.precision, row.agreement) == ("int8", 0.75)
    assert base.runs == 1


def test_a_contender_that_fails_costs_the_others_nothing() -> None:
    scripts = {
        ("tdt", "float32", "cpu"): Scripted([0.4], [Answer("a", (1,))]),
        ("peer", "float32", "cpu"): Scripted([], [], fails="load"),
        ("tdt", "int8", "cpu"): Scripted([], [], fails="run"),
    }
    outcome = bench(scripts, [case(), case(seconds=8.0)])
    assert [(row.contender, row.precision) for row in outcome.rows] == [("tdt", "float32")] * 2
    assert [entry.who for entry, _ in outcome.failed] == ["peer", "tdt", "tdt"]
    assert all(script.closed for script in scripts.values())


def test_contenders_run_in_turn() -> None:
    order: list[str] = []

    def contender(name: str, seconds: float) -> Any:
        def run() -> float:
            order.append(name)
            return seconds

        return run

    taken = measure([contender("a", 1.0), contender("b", 0.1)], [5.0, 5.0], Budget(3, 3.0, 60.0, 0.5))
    assert order[:1] == ["a"]  # one warm-up run covers half a second
    assert order[1:6] == ["b"] * 5
    assert order[6:12] == ["a", "b"] * 3
    assert [len(samples.timed) for samples in taken] == [3, 30]
    assert [samples.first for samples in taken] == [5.0, 5.0]


def test_no_run_begins_after_the_most_seconds() -> None:
    (taken,) = measure([lambda: 7.0], [7.0], Budget(10, 3.0, 20.0, 0.0))
    assert len(taken.timed) == 3


def observation(samples: list[float], **more: Any) -> Observation:
    return Observation(seconds=stats.summarize(samples), first_seconds=samples[0], **more)


def stage(name: str, total_ms: float, share: float, clock: str = "host") -> StageRow:
    return StageRow(name, total_ms, share, 1, total_ms, total_ms, total_ms, clock)


def test_each_caution_is_raised_by_its_cause_alone() -> None:
    steady = [0.4] * 10

    def raised(seen: Observation) -> list[Caution]:
        return [one.caution for one in cautions(seen)]

    def profile(*rows: StageRow) -> Breakdown:
        return Breakdown(100.0, 1, 1.0, rows, (), ())

    idle = GpuUse(9, 12.0, 1.0, None, None, None, None)
    busy = replace(idle, sm_percent=90.0)
    partly = place([("CUDAExecutionProvider", "Add")] * 3 + [("CPUExecutionProvider", "MatMulInteger")])
    shapes = place([("CUDAExecutionProvider", "MatMul"), ("CPUExecutionProvider", "Gather")])
    assert raised(observation(steady)) == []
    assert raised(observation(steady, asked="cuda", active="cpu")) == [Caution.FELL_BACK]
    assert raised(observation(steady, asked="cuda", active="cuda", placement=partly)) == [Caution.PARTLY_ON_CPU]
    assert raised(observation(steady, asked="cuda", active="cuda", placement=shapes, gpu=busy)) == []
    assert raised(observation(steady, compiled_ms=3.0)) == [Caution.JIT_INSIDE_TIMING]
    assert raised(observation([0.1] * 9 + [2.2])) == [Caution.UNSTABLE]
    assert raised(observation([0.1] * 10)) == [Caution.TOO_SHORT]
    assert raised(observation([1.0] * 9)) == [Caution.TOO_SHORT]
    copies = profile(stage("h2d", 20, 0.2), stage("d2h", 15, 0.15))
    assert raised(observation(steady, profile=copies)) == [Caution.TRANSFER_BOUND]
    assert raised(observation(steady, asked="cuda", active="cuda", gpu=idle)) == [Caution.GPU_IDLE]
    assert raised(observation(steady, gpu=idle)) == []


def test_cautions_carry_what_was_seen_and_a_remedy() -> None:
    (raised,) = cautions(observation([0.4] * 10, asked="cuda", active="cpu"))
    assert str(raised).startswith("fell-back: cuda was asked for, cpu runs. ")
    assert "tdt doctor" in str(raised)


def test_placement_tells_arithmetic_on_shapes_from_computation() -> None:
    placement = place(
        [("CUDAExecutionProvider", "MatMul")] * 5
        + [("CPUExecutionProvider", "Gather")] * 3
        + [("CPUExecutionProvider", "ConvInteger")] * 2
    )
    assert (placement.nodes, placement.on_cpu, placement.computing_on_cpu) == (10, 5, 2)
    assert str(placement) == "5 of 10 nodes run on the CPU: 2 ConvInteger"
    assert placement.active == "cuda"
    assert place([("CPUExecutionProvider", "MatMul")]).active == "cpu"


@pytest.mark.parametrize(
    ("kind", "available", "provider"),
    [
        ("dynamic", {"cpu", "cuda", "tensorrt"}, "cpu"),
        ("qdq", {"cpu", "cuda", "tensorrt"}, "tensorrt"),
        ("qdq", {"cpu", "cuda"}, "cpu"),
        ("float", {"cpu", "cuda", "tensorrt"}, "tensorrt"),
        ("float", {"cpu", "cuda"}, "cuda"),
        ("float", {"cpu"}, "cpu"),
        ("weight-only", {"cpu", "cuda"}, "cuda"),
    ],
)
def test_each_file_goes_where_it_belongs(kind: Any, available: set[Any], provider: str) -> None:
    choice = choose_provider(kind, available)
    assert choice.provider == provider
    assert "\n" not in choice.why


def report_findings() -> Findings:
    idle = GpuUse(9, 12.0, 1.0, 1500.0, 70.0, 3.5, 2**30)
    partly = place([("CUDAExecutionProvider", "Add")] * 86 + [("CPUExecutionProvider", "MatMulInteger")] * 214)
    scripts = {
        ("tdt", "float32", "cpu"): Scripted([0.8], [Answer("hello", (1, 2))]),
        ("tdt", "int8", "cpu"): Scripted([0.4], [Answer("hello", (1, 2))]),
        ("tdt", "float32", "cuda:0"): Scripted([0.1], [Answer("hello", (1, 2))], Facts(active="cuda")),
        ("tdt", "int8", "cuda:0"): Scripted(
            [2.0], [Answer("hello", (1, 2))], Facts(active="cuda", gpu=idle, placement=partly)
        ),
    }
    outcome = bench(scripts, [case(3.0), case(32.0)])
    texts = {(row.precision, row.provider): row.text for row in outcome.rows}
    return Findings(outcome.rows, texts, {"float32": "float", "int8": "dynamic"}, {}, (), ("cpu", "cuda"))


def test_the_report_says_what_is_slower_why_and_what_to_use() -> None:
    findings = report_findings()
    text = "\n".join(to_text(table) for table in report_tables(findings))
    assert "8.00 ± 0.00× faster" in text
    assert "5.00 ± 0.00× SLOWER" in text
    assert "GPU idle: 214 of 300 nodes run on the CPU: 214 MatMulInteger (GPU busy 12 %)" in text
    assert "dynamically quantised" in text
    assert recommendation(findings).startswith("float32 on cuda:0")
    assert any("gpu-idle" in line for line in diagnosis(findings))
    device = gpu_table(findings.rows)
    assert device is not None
    assert device.rows[0][6:] == ("12", "1", "1500", "70", "3.5", "1.0 GiB")


def test_the_report_without_a_card_says_what_is_missing() -> None:
    whole = report_findings()
    rows = [row for row in whole.rows if row.provider == "cpu"]
    refused = {("int8", "cuda:0"): "no device"}
    findings = replace(whole, rows=rows, missing=("No GPU was measured: none.",), refused=refused, available=("cpu",))
    text = "\n".join(to_text(table) for table in report_tables(findings))
    assert "No GPU was measured" in text
    assert "Speed-up" not in text
    assert "int8 on cuda:0: no device" in text
    assert recommendation(findings).startswith("int8 on cpu")


def test_a_fast_file_that_is_wrong_is_not_recommended() -> None:
    whole = report_findings()
    rows = [replace(row, agreement=0.6) if row.precision == "int8" else row for row in whole.rows]
    cpu_only = replace(whole, rows=[row for row in rows if row.provider == "cpu"], available=("cpu",))
    assert recommendation(cpu_only).startswith("float32 on cpu")
    assert "only 60.0% of its tokens agree" in recommendation(cpu_only)


def test_ratios_are_said_in_words() -> None:
    assert versus(stats.Ratio(2.0, 0.1)) == "2.00 ± 0.10× faster"
    # 1/r has the same relative error as r: 10 % of 4.
    assert versus(stats.Ratio(0.25, 0.025)) == "4.00 ± 0.40× SLOWER"
    assert versus(None) == ""


def test_rows_are_written_in_every_form() -> None:
    rows = report_findings().rows
    document = json.loads(bench_runs.render(rows, "json"))
    assert (document["schema"], document["version"], len(document["rows"])) == ("tdt-bench", 1, 8)
    first = document["rows"][0]
    assert first["seconds"]["samples"] == [0.8] * 10
    assert {"rtfx", "tokens_per_second", "agreement", "peak_bytes", "facts", "cautions"} <= set(first)
    assert document["environment"]["instruction_sets"] is not None
    heads, *body = csv.reader(io.StringIO(bench_runs.render(rows, "csv")))
    assert all(len(line) == len(heads) for line in body)
    assert "RTFx" in bench_runs.render(rows, "markdown")


def test_plots_are_drawn(tmp_path: Path) -> None:
    bench_runs.draw(report_findings().rows, tmp_path / "plots")
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {
        "rtfx_by_batch.png",
        "rtfx_by_length.png",
        "accuracy_by_latency.png",
    }


def recordings() -> list[Recording]:
    return [
        Recording(name, np.full(int(s * 16000), s, np.float32), name) for name, s in [("a", 2.9), ("b", 4.0), ("c", 1)]
    ]


def test_clips_are_near_the_length_and_never_cut() -> None:
    assert clip_of(recordings(), 3.0).name == "a"
    long = clip_of(recordings(), 9.0)
    assert (long.name, long.reference) == ("a+b+c+a", "a b c a")
    # Three pauses of 0.4 s between the four.
    assert long.seconds == pytest.approx(2.9 + 4.0 + 1.0 + 2.9 + 3 * 0.4, abs=1e-3)
    cases = make_cases(recordings(), [3.0, 9.0], [1, 2])
    assert [(len(one.clips), one.batch) for one in cases] == [(1, 1), (2, 2), (1, 1), (2, 2)]
    assert cases[3].clips[0].name != cases[3].clips[1].name
    assert make_cases(recordings(), [], [2])[0].audio_seconds == pytest.approx(7.9)


@pytest.mark.parametrize(("lengths", "batches"), [([0.0], [1]), ([3.0], [-1])])
def test_lengths_and_batches_must_be_positive(lengths: list[float], batches: list[int]) -> None:
    with pytest.raises(OptionError, match="positive numbers"):
        make_cases(recordings(), lengths, batches)
    with pytest.raises(OptionError, match="at least one recording"):
        make_cases([], [3.0], [1])


def test_references_are_read_by_name(tmp_path: Path) -> None:
    path = tmp_path / "said.tsv"
    path.write_text('file\ttext\tvoice\na.flac\tIt\'s "fifty-eight", he said.\tx\n')
    assert read_references(path) == {"a.flac": 'It\'s "fifty-eight", he said.'}
    path.write_text("a.flac no tab\n")
    with pytest.raises(OptionError, match="a tab"):
        read_references(path)
    with pytest.raises(OptionError, match="readable file"):
        read_references(tmp_path / "missing.tsv")


def test_words_are_counted_as_error_rates_do() -> None:
    assert words("It’s fifty-eight, O'Neil!") == ["it's", "fifty", "eight", "o'neil"]
    assert word_error_rate(["a b c d"], [Answer("A, b x c")]) == 0.5
    assert word_error_rate(None, [Answer("a")]) is None


@given(st.lists(st.integers(0, 3), max_size=12), st.lists(st.integers(0, 3), max_size=12))
def test_edit_distance_is_the_definitions(ours: list[int], theirs: list[int]) -> None:
    assert stats.edit_distance(ours, theirs) == edit_distance(list(ours), list(theirs))


def test_agreement_counts_the_longer_side() -> None:
    assert stats.agreement([[1, 2, 3, 4]], [[1, 2, 3]]) == 0.75
    assert stats.agreement([[]], [[]]) == 1.0


def place(nodes: list[tuple[str, str]]) -> Placement:
    return summarize_placement(classify((provider, "", operator) for provider, operator in nodes))


class Sleepless:
    """A contender for a real process: adds up what it is given."""

    def load(self) -> None:
        pass

    def run(self, clips: Any, batch: int) -> list[Answer]:
        if len(clips) == 3:
            raise ValueError("three is too many")
        return [Answer(str(int(clip.sum())), (batch,)) for clip in clips]

    def facts(self, clips: Any, batch: int) -> Facts:
        return Facts(files={"x": "y"})


def test_a_worker_is_a_process_of_its_own() -> None:
    with Worker("sleepless", Sleepless()) as worker:
        seconds, resident = worker.load()
        assert seconds >= 0
        assert resident > 0
        worker.set_case([np.ones(5, np.float32), np.ones(7, np.float32)], 2)
        assert worker.run() > 0
        assert worker.answers() == [Answer("5", (2,)), Answer("7", (2,))]
        assert worker.facts().files == {"x": "y"}
        worker.set_case([np.ones(1, np.float32)] * 3, 1)
        with pytest.raises(MeasurementError, match="sleepless could not be measured: ValueError: three is too many"):
            worker.run()
        assert worker.peak_bytes() > 0
