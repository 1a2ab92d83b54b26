"""Traces, tables, pages and pictures of a profile."""

from __future__ import annotations

import builtins
import csv
import io
import json
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from tdt.errors import MissingDependencyError, ProfileFileError
from tdt.profiling import nodes, page, picture, profile_tables, tables, trace
from tdt.profiling.breakdown import break_down
from tdt.timeline import CALL, Timeline

if TYPE_CHECKING:
    from pathlib import Path

MS = 1_000_000


@pytest.fixture
def timeline() -> Timeline:
    now = [100 * MS]
    timeline = Timeline(lambda: now[0])

    def work(name: str, milliseconds: int) -> None:
        with timeline.span(name):
            now[0] += milliseconds * MS

    with timeline.span("load"):
        work("read", 3)
    for _ in range(2):
        with timeline.span(CALL):
            work("features", 2)
            work("encoder", 12)
            now[0] += 6 * MS
            timeline.tally("joint", 4 * MS, 40)
            timeline.tally("predictor", 1 * MS, 10)
    timeline.audio_seconds = 8.0
    return timeline


def ort_events() -> list[dict[str, Any]]:
    """Return a profile as ONNX Runtime 1.31 writes it, cut down."""

    def node(name: str, operator: str, microseconds: int, rows: int, held: int) -> dict[str, Any]:
        arguments = {
            "op_name": operator,
            "provider": "CPUExecutionProvider",
            "input_type_shape": [{"float": [1, rows, 8]}, {"float": []}],
            "output_type_shape": [{"float": [1, rows, 8]}],
            "mem_arena_held": str(held),
            "node_index": "7",
        }
        times = {"ts": 500, "dur": microseconds, "pid": 3, "tid": 4}
        return {"cat": "Node", "ph": "X", "name": f"{name}_kernel_time", "args": arguments, **times}

    session = {"cat": "Session", "ph": "X", "pid": 3, "tid": 4, "args": {}}
    return [
        {**session, "name": "model_loading_uri", "ts": 1, "dur": 2000},
        {**session, "name": "session_initialization", "ts": 2001, "dur": 5000},
        {"cat": "meta", "ph": "M", "name": "process_name", "pid": 3, "args": {}},
        node("/layers.0/linear", "MatMul", 300, 10, 4096),
        node("/layers.0/linear", "MatMul", 500, 20, 8192),
        node("/layers.0/norm", "LayerNormalization", 200, 10, 1024),
    ]


@pytest.fixture
def ort_profile(tmp_path: Path) -> nodes.OrtProfile:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(ort_events()))
    return nodes.read_ort_profile(path, "encoder", started_unix_ns=1_000 * MS, clock_offset_ns=-800 * MS)


def check_trace_event(event: dict[str, Any]) -> None:
    """Assert what the Trace Event Format demands of the two kinds of events that we write."""
    assert {"name", "ph", "pid", "tid"} <= set(event)
    assert isinstance(event["name"], str)
    assert isinstance(event["pid"], int)
    assert isinstance(event["tid"], int)
    assert isinstance(event["args"], dict)
    if event["ph"] == "X":
        assert isinstance(event["cat"], str)
        assert isinstance(event["ts"], (int, float))
        assert event["ts"] >= 0
        assert isinstance(event["dur"], (int, float))
        assert event["dur"] >= 0
    else:
        assert event["ph"] == "M"
        assert event["name"] in {"process_name", "thread_name"}
        assert isinstance(event["args"]["name"], str)


def test_trace_is_valid_and_nests(timeline: Timeline, ort_profile: nodes.OrtProfile) -> None:
    document = json.loads(json.dumps(trace.chrome_trace(timeline, [ort_profile])))
    assert document["displayTimeUnit"] in {"ms", "ns"}
    for event in document["traceEvents"]:
        check_trace_event(event)
    tracks: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for event in document["traceEvents"]:
        if event.get("cat") in {"stage", "tally"}:
            tracks.setdefault((event["pid"], event["tid"]), []).append(event)
    for track in tracks.values():
        open_ends: list[float] = []
        for event in sorted(track, key=lambda e: (e["ts"], -e["dur"])):
            while open_ends and open_ends[-1] <= event["ts"]:
                open_ends.pop()
            # Perfetto drops slices of one track that overlap without nesting.
            assert not open_ends or event["ts"] + event["dur"] <= open_ends[-1] + 1e-6
            open_ends.append(event["ts"] + event["dur"])


def test_trace_keeps_times_and_moves_ort_to_our_clock(timeline: Timeline, ort_profile: nodes.OrtProfile) -> None:
    events = trace.chrome_trace(timeline, [ort_profile])["traceEvents"]
    encoders = [event for event in events if event["name"] == "encoder"]
    assert [event["dur"] for event in encoders] == [12_000, 12_000]
    # The timeline begins at 100 ms and ORT's profile at 1000 − 800 = 200 ms of its clock: 100 ms later.
    matmul = next(event for event in events if event["name"].startswith("/layers.0/linear"))
    assert matmul["ts"] == pytest.approx(100_500)
    assert "mem_arena_held" not in matmul["args"]
    sums = [event for event in events if event.get("cat") == "tally"]
    assert [(event["name"], event["dur"], event["args"]["count"]) for event in sums[:2]] == [
        ("joint", 4000, 40),
        ("predictor", 1000, 10),
    ]
    assert len(sums) == 4


def test_top_nodes_add_up_and_say_shape_and_provider(ort_profile: nodes.OrtProfile) -> None:
    rows = nodes.top_nodes([ort_profile])
    assert [(row.operator, row.total_ms, row.count) for row in rows] == [
        ("MatMul", 0.8, 2),
        ("LayerNormalization", 0.2, 1),
    ]
    assert (rows[0].shape, rows[0].provider, rows[0].share) == ("1×20×8 scalar", "CPU", pytest.approx(0.8))
    assert nodes.top_operators(rows)[0][:2] == ("MatMul", "CPU")
    assert nodes.load_times_ms(ort_profile) == {"read": 2.0, "optimise": 5.0}
    assert nodes.arena_peak_bytes(ort_profile) == 8192


@pytest.mark.parametrize("content", ["", "{}", "[1]", "[{}]", '{"traceEvents": []'])
def test_a_file_that_is_no_profile_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(ProfileFileError, match="no ONNX Runtime profile"):
        nodes.read_ort_profile(path, "encoder", started_unix_ns=0)


def test_tables_say_the_same_in_every_form(timeline: Timeline) -> None:
    table = profile_tables.stage_table(break_down(timeline))
    assert table.rows[-1][:4] == ("wall", "", "40.00", "100.0%")
    assert "200.0 × real time" in table.title
    read = list(csv.reader(io.StringIO(tables.to_csv(table))))
    assert [tuple(row) for row in read] == [table.heads, *table.rows]
    for written in (tables.to_text(table), tables.to_markdown(table), tables.to_html(table)):
        assert all(cell in written for row in table.rows for cell in row)


def test_markdown_and_html_escape() -> None:
    table = tables.Table(("a|b", "<i>"), (("x|y\nz", "<script>"),), title="T&C")
    assert "x\\|y z" in tables.to_markdown(table)
    assert "<script>" not in tables.to_html(table)
    assert "T&amp;C" in tables.to_html(table)


class _Page(HTMLParser):
    """Notes what a page would load, and whether its tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [f"{tag} {name}={value}" for name, value in attrs if name in {"src", "href"}]
        if tag not in {"meta"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_is_self_contained_and_well_formed(timeline: Timeline) -> None:
    profile = break_down(timeline)
    text = page.profile_page("a <clip>", profile, [profile_tables.stage_table(profile)], "made by a & b")
    parser = _Page()
    parser.feed(text)
    assert parser.loads == []
    assert parser.open == []
    assert "<clip>" not in text
    assert text.count("<rect") == len(profile.stages)


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_pictures_are_drawn(timeline: Timeline, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"stages{suffix}"
    picture.draw_stages({"tiny": break_down(timeline), "again": break_down(timeline)}, path)
    assert path.stat().st_size > 1000
    picture.draw_lines({"cpu": [(8, 40.0), (1, 20.0)]}, tmp_path / f"lines{suffix}", across="batch", up="RTFx")
    picture.draw_points({"int8": (3.0, 0.9)}, tmp_path / f"points{suffix}", across="ms", up="agreement")
    assert (tmp_path / f"points{suffix}").stat().st_size > 1000


def test_a_picture_without_matplotlib_says_what_to_install(
    timeline: Timeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(MissingDependencyError, match=r"parakeet-tdt\[plot\]"):
        picture.draw_stages({"tiny": break_down(timeline)}, tmp_path / "x.png")
