"""ONNX Runtime's own profile: which nodes take the time, on which provider, and what a session holds in memory."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tdt.errors import ProfileFileError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

_NODE_SUFFIX = "_kernel_time"


@dataclass(frozen=True, slots=True)
class OrtProfile:
    """One session's profile.

    Parameters
    ----------
    name : str
        Of the graph.
    start_ns : int
        When it began, by the clock of the timeline.
    events : tuple of dict
        As ORT wrote them; ``ts`` and ``dur`` in microseconds from the start.
    """

    name: str
    start_ns: int
    events: tuple[dict[str, Any], ...]

    def since(self, moment_ns: int) -> OrtProfile:
        """Return the profile without what began before `moment_ns`, by the timeline's clock."""
        kept = (event for event in self.events if self.start_ns + event["ts"] * 1e3 >= moment_ns)
        return OrtProfile(self.name, self.start_ns, tuple(kept))


@dataclass(frozen=True, slots=True)
class NodeRow:
    """One node of a graph, all its runs together; the fields are the JSON's."""

    graph: str
    node: str
    operator: str
    shape: str
    provider: str
    total_ms: float
    share: float
    count: int


def read_ort_profile(path: Path, name: str, *, started_unix_ns: int, clock_offset_ns: int | None = None) -> OrtProfile:
    """Read a profile that ORT wrote.

    Parameters
    ----------
    path : Path
    name : str
        Of the graph.
    started_unix_ns : int
        The session's ``get_profiling_start_time_ns()``.
    clock_offset_ns : int, optional
        Timeline's clock less the Unix clock; by default that of ``time.perf_counter_ns``, read now.

    Raises
    ------
    ProfileFileError
        The file is not an ORT profile.
    """
    offset = time.perf_counter_ns() - time.time_ns() if clock_offset_ns is None else clock_offset_ns
    try:
        events = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ProfileFileError(path, str(error)) from error
    if not isinstance(events, list) or not all(isinstance(event, dict) and "ph" in event for event in events):
        raise ProfileFileError(path, "it is no list of trace events")
    return OrtProfile(name, started_unix_ns + offset, tuple(event for event in events if event["ph"] == "X"))


def node_events(profile: OrtProfile) -> list[dict[str, Any]]:
    """Return the events that are runs of one node."""
    return [event for event in profile.events if event.get("cat") == "Node" and event["name"].endswith(_NODE_SUFFIX)]


def top_nodes(profiles: Iterable[OrtProfile]) -> list[NodeRow]:
    """Return every node with its time over all runs, the dearest first; the shape is that of its longest run.

    A node fused or renamed by ORT appears under ORT's name for it.
    """
    rows = []
    for profile in profiles:
        runs: dict[str, list[dict[str, Any]]] = {}
        for event in node_events(profile):
            runs.setdefault(event["name"].removesuffix(_NODE_SUFFIX), []).append(event)
        rows += [_row(profile.name, node, events) for node, events in runs.items()]
    whole = sum(row[5] for row in rows) or 1.0
    made = [NodeRow(*row[:6], row[5] / whole, row[6]) for row in rows]
    return sorted(made, key=lambda row: -row.total_ms)


def top_operators(rows: Sequence[NodeRow]) -> list[tuple[str, str, float, float, int]]:
    """Return (operator, provider, milliseconds, share, runs) of nodes grouped by operator, the dearest first."""
    return _grouped(rows, lambda row: (row.operator, row.provider))


def _grouped(
    rows: Sequence[NodeRow], key: Callable[[NodeRow], tuple[str, str]]
) -> list[tuple[str, str, float, float, int]]:
    sums: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        total = sums.setdefault(key(row), [0.0, 0.0, 0])
        total[0] += row.total_ms
        total[1] += row.share
        total[2] += row.count
    listed = [(*names, total[0], total[1], int(total[2])) for names, total in sums.items()]
    return sorted(listed, key=lambda item: -item[2])


def _row(graph: str, node: str, events: list[dict[str, Any]]) -> tuple[str, str, str, str, str, float, int]:
    longest = max(events, key=lambda event: float(event["dur"]))["args"]
    total_ms = sum(event["dur"] for event in events) / 1e3
    shapes = " ".join(_shape(tensor) for tensor in longest.get("input_type_shape", ()))
    provider = longest.get("provider", "?").removesuffix("ExecutionProvider")
    return graph, node, longest.get("op_name", "?"), shapes, provider, total_ms, len(events)


def _shape(tensor: dict[str, list[int]]) -> str:
    """Return ``1×128×300`` for ``{"float": [1, 128, 300]}``."""
    return "×".join(str(size) for sizes in tensor.values() for size in sizes) or "scalar"


def load_times_ms(profile: OrtProfile) -> dict[str, float]:
    """Return how long ORT read the model file and how long it optimised and prepared the graph."""
    names = {"model_loading_uri": "read", "model_loading_array": "read", "session_initialization": "optimise"}
    times = {"read": 0.0, "optimise": 0.0}
    for event in profile.events:
        if event.get("cat") == "Session" and event["name"] in names:
            times[names[event["name"]]] += event["dur"] / 1e3
    return times


def arena_peak_bytes(profile: OrtProfile) -> int:
    """Return the most that the session's memory arenas held at any node; 0 where ORT does not say."""
    return max((int(event["args"].get("mem_arena_held", 0)) for event in node_events(profile)), default=0)
