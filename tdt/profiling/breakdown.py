"""From the records of a timeline to a table of stages whose times add up to the wall time."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tdt.profiling.stats import weighted_percentile
from tdt.timeline import CALL, SETUP_STAGES, STAGES, Span, Tally

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tdt.timeline import Timeline

JSON_VERSION = 1
UNACCOUNTED = "unaccounted"


@dataclass(frozen=True, slots=True)
class StageRow:
    """What one stage took; the fields are the JSON's.

    Parameters
    ----------
    name : str
    total_ms : float
        The stage's own time: what other stages took inside it is theirs.
    share : float
        Of the wall time, 0..1.
    count : int
        Events: spans, or what the decoding loop counted.
    p50_ms, p95_ms, max_ms : float
        Of one event. Events that compiled code timed together enter with the mean of that decode.
    clock : str
        host, host+sync or cuda-event.
    per_call_ms : float or None
        Total divided by calls; None for what lies outside the calls.
    per_audio_second_ms : float or None
        Total divided by seconds of audio; None where those are not known.
    """

    name: str
    total_ms: float
    share: float
    count: int
    p50_ms: float
    p95_ms: float
    max_ms: float
    clock: str
    per_call_ms: float | None = None
    per_audio_second_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Where the wall time of the calls went.

    Parameters
    ----------
    wall_ms : float
        All calls together, set-up work inside them left out.
    calls : int
        Zero where stages were recorded without the recogniser: the wall time then runs from the first to the last.
    audio_seconds : float
    stages : tuple of StageRow
        Add up to `wall_ms`; the last is `unaccounted`.
    setup : tuple of StageRow
        Load, compile and warm-up, each with what was inside it, as ``load/read``; shares are of the set-up time.
    overlapped : tuple of StageRow
        Ran in other threads beside the calls; not part of `wall_ms`.
    """

    wall_ms: float
    calls: int
    audio_seconds: float
    stages: tuple[StageRow, ...]
    setup: tuple[StageRow, ...]
    overlapped: tuple[StageRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object, without the environment, as `tdt profile --format json` prints it."""
        return {"schema": "tdt-profile", "version": JSON_VERSION, **asdict(self)}


def break_down(timeline: Timeline) -> Breakdown:
    """Return the table of what `timeline` recorded."""
    spans, tallies = list(timeline.spans), list(timeline.tallies)
    records: list[Span | Tally] = [*spans, *tallies]
    calls = [span for span in spans if span.path == CALL]
    wall_ns = sum(call.duration_ns - call.setup_ns for call in calls) if calls else _hull_ns(spans, tallies)
    stages = _Rows(wall_ns, len(calls), timeline.audio_seconds)
    overlapped = _Rows(wall_ns, 0, timeline.audio_seconds)
    unaccounted = []
    for record in records:
        if _setup_name(record):
            continue
        if record.name == CALL:
            unaccounted.append(_event(record))
        else:
            inside = not calls or record.path.split("/", 1)[0] == CALL
            (stages if inside else overlapped).add(record.name, record.clock, _event(record))
    unaccounted = unaccounted or [(wall_ns - stages.total_ns, 1)]
    return Breakdown(
        wall_ms=wall_ns / 1e6,
        calls=len(calls),
        audio_seconds=timeline.audio_seconds,
        stages=(*stages.rows(), stages.row(UNACCOUNTED, "host", unaccounted)),
        setup=_setup_rows(records),
        overlapped=overlapped.rows(),
    )


def _event(record: Span | Tally) -> tuple[int, int]:
    """Return a record's own nanoseconds and how many events they were."""
    return (record.self_ns, 1) if isinstance(record, Span) else (record.total_ns, record.count)


def _setup_name(record: Span | Tally) -> str:
    """Return the record's path from the innermost set-up stage around it: ``load/read``; empty where there is none."""
    names = record.path.split("/") if isinstance(record, Span) else [*record.path.split("/"), record.name]
    starts = [index for index, name in enumerate(names) if name in SETUP_STAGES]
    return "/".join(names[starts[-1] :]) if starts else ""


def _hull_ns(spans: list[Span], tallies: list[Tally]) -> int:
    """Return the time from the first stage to the last one's end, set-up work between them left out."""
    roots = [span for span in spans if "/" not in span.path]
    work = [(span.start_ns, span.start_ns + span.duration_ns) for span in roots if span.name not in SETUP_STAGES]
    work += [(tally.end_ns - tally.total_ns, tally.end_ns) for tally in tallies if not tally.path]
    if not work:
        return 0
    first, last = min(start for start, _ in work), max(end for _, end in work)
    return last - first - sum(span.setup_ns for span in roots if first <= span.start_ns < last)


class _Rows:
    """Collects events by stage and clock, in the order first seen."""

    def __init__(self, wall_ns: int, calls: int, audio_seconds: float) -> None:
        self.wall_ns, self.calls, self.audio_seconds = wall_ns, calls, audio_seconds
        self.events: dict[tuple[str, str], list[tuple[int, int]]] = {}

    def add(self, name: str, clock: str, event: tuple[int, int]) -> None:
        """Charge `event` (nanoseconds, count) to the row `name`."""
        self.events.setdefault((name, clock), []).append(event)

    @property
    def total_ns(self) -> int:
        """Return the time of all rows together."""
        return sum(total for events in self.events.values() for total, _ in events)

    def row(self, name: str, clock: str, events: Iterable[tuple[int, int]]) -> StageRow:
        """Return one row of the table."""
        events = list(events)
        total_ms = sum(total for total, _ in events) / 1e6
        counted = [(total / count / 1e6, count) for total, count in events if count > 0] or [(0.0, 1)]
        means, counts = [mean for mean, _ in counted], [count for _, count in counted]
        return StageRow(
            name=name,
            total_ms=total_ms,
            share=total_ms * 1e6 / self.wall_ns if self.wall_ns else 0.0,
            count=sum(count for _, count in events),
            p50_ms=weighted_percentile(means, counts, 50),
            p95_ms=weighted_percentile(means, counts, 95),
            max_ms=max(means),
            clock=clock,
            per_call_ms=total_ms / self.calls if self.calls else None,
            per_audio_second_ms=total_ms / self.audio_seconds if self.audio_seconds else None,
        )

    def rows(self) -> tuple[StageRow, ...]:
        """Return all rows in the pipeline's order; stages that it does not know come last, as first seen."""
        order = {name: index for index, name in enumerate((*SETUP_STAGES, *STAGES))}
        made = [self.row(name, clock, events) for (name, clock), events in self.events.items()]
        return tuple(sorted(made, key=lambda row: order.get(row.name.split("/", 1)[0], len(order))))


def _setup_rows(records: Iterable[Span | Tally]) -> tuple[StageRow, ...]:
    """Return one row a set-up stage, and one for each part of it; a stage's time includes its parts'."""
    totals: dict[tuple[str, str], list[int]] = {}
    for record in records:
        name = _setup_name(record)
        own_ns, count = _event(record)
        for end in (index for index, letter in enumerate(f"{name}/") if name and letter == "/"):
            sums = totals.setdefault((name[:end], record.clock), [0, 0])
            sums[0] += own_ns
            sums[1] += count if end == len(name) else 0
    whole_ns = sum(sums[0] for (name, _), sums in totals.items() if "/" not in name)
    rows = _Rows(whole_ns, 0, 0.0)
    for (name, clock), (total_ns, count) in sorted(totals.items()):
        rows.add(name, clock, (total_ns, count))
    return rows.rows()
