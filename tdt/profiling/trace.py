"""A timeline as a Chrome trace, which chrome://tracing and ui.perfetto.dev open; ORT's own node trace joins on request.

The format: "Trace Event Format", docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tdt.profiling.nodes import OrtProfile
    from tdt.timeline import Span, Tally, Timeline

Event = dict[str, Any]

# A track of its own for tallies: they have a sum, not a place in time, and would nest wrongly among the spans.
_TALLY_TRACK = 1_000_000


def chrome_trace(timeline: Timeline, profiles: Sequence[OrtProfile] = ()) -> dict[str, Any]:
    """Return the trace as a JSON object: complete ("X") events in microseconds, and names of tracks.

    Parameters
    ----------
    timeline : Timeline
        Its spans become slices that nest; its tallies one slice each a decode, as long as the events' sum, flagged
        ``aggregate``.
    profiles : sequence of OrtProfile
        ONNX Runtime's node traces, moved to the timeline's clock, one process track each.
    """
    pid = os.getpid()
    spans, tallies = list(timeline.spans), list(timeline.tallies)
    starts = [span.start_ns for span in spans] + [tally.end_ns - tally.total_ns for tally in tallies]
    starts += [profile.start_ns for profile in profiles]
    origin_ns = min(starts, default=0)
    threads = {span.thread: index for index, span in enumerate(reversed(spans))}
    numbers = {thread: number for number, thread in enumerate(sorted(threads, key=lambda key: -threads[key]), start=1)}
    events = [_metadata("process_name", pid, 0, "tdt")]
    events += [_metadata("thread_name", pid, number, f"thread {number}") for number in numbers.values()]
    events += [_span_event(span, origin_ns, pid, numbers[span.thread]) for span in spans]
    if tallies:
        events.append(_metadata("thread_name", pid, _TALLY_TRACK, "decoding loop (sums)"))
        events += _tally_events(tallies, origin_ns, pid)
    for index, profile in enumerate(profiles, start=1):
        events += _ort_events(profile, origin_ns, pid + index)
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def _metadata(kind: str, pid: int, tid: int, name: str) -> Event:
    return {"name": kind, "ph": "M", "pid": pid, "tid": tid, "args": {"name": name}}


def _span_event(span: Span, origin_ns: int, pid: int, tid: int) -> Event:
    return {
        "name": span.name,
        "cat": "stage",
        "ph": "X",
        "ts": (span.start_ns - origin_ns) / 1e3,
        "dur": span.duration_ns / 1e3,
        "pid": pid,
        "tid": tid,
        "args": {"clock": span.clock, "self_ms": span.self_ns / 1e6},
    }


def _tally_events(tallies: Iterable[Tally], origin_ns: int, pid: int) -> list[Event]:
    """Return one slice an enclosing span and stage, laid end to end from that span's start."""
    sums: dict[int, dict[str, list[int]]] = {}
    clocks: dict[str, str] = {}
    for tally in tallies:
        total = sums.setdefault(tally.span_start_ns, {}).setdefault(tally.name, [0, 0])
        total[0] += tally.total_ns
        total[1] += tally.count
        clocks[tally.name] = tally.clock
    events = []
    for start_ns, stages in sums.items():
        offset_ns = start_ns - origin_ns
        for name, (total_ns, count) in stages.items():
            args = {"clock": clocks[name], "count": count, "aggregate": True}
            times = {"ts": offset_ns / 1e3, "dur": total_ns / 1e3}
            events.append(
                {"name": name, "cat": "tally", "ph": "X", **times, "pid": pid, "tid": _TALLY_TRACK, "args": args}
            )
            offset_ns += total_ns
    return events


def _ort_events(profile: OrtProfile, origin_ns: int, pid: int) -> list[Event]:
    """Return ORT's events with their times moved; their memory statistics are cut down to what a reader looks for."""
    kept = ("op_name", "provider", "input_type_shape", "output_type_shape", "node_index")
    events = [_metadata("process_name", pid, 0, f"ONNX Runtime: {profile.name}")]
    for event in profile.events:
        args = {key: event["args"][key] for key in kept if key in event.get("args", {})}
        moved = event["ts"] + (profile.start_ns - origin_ns) / 1e3
        events.append({**event, "ts": moved, "pid": pid, "tid": event["tid"], "args": args})
    return events
