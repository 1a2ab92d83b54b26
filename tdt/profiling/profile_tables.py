"""The tables of a profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.profiling.nodes import top_operators
from tdt.profiling.stats import format_bytes
from tdt.profiling.tables import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.profiling.breakdown import Breakdown, StageRow
    from tdt.profiling.memory import StageMemory
    from tdt.profiling.nodes import NodeRow

_TOP = 15


def stage_table(profile: Breakdown) -> Table:
    """Return the table of stages; its last row is the wall time that they add up to."""
    heads = ("stage", "clock", "total ms", "share", "ms/call", "ms/audio s", "count", "p50 ms", "p95 ms", "max ms")
    whole = sum(row.total_ms for row in profile.stages)
    calls, seconds = profile.calls, profile.audio_seconds
    total = (
        "wall",
        "",
        f"{profile.wall_ms:.2f}",
        f"{whole / profile.wall_ms if profile.wall_ms else 0:.1%}",
        f"{profile.wall_ms / calls:.2f}" if calls else "",
        f"{profile.wall_ms / seconds:.3f}" if seconds else "",
    )
    speed = f"{seconds / profile.wall_ms * 1e3:.1f} × real time, " if seconds and profile.wall_ms else ""
    return Table(
        heads,
        (*(_cells(row) for row in profile.stages), (*total, str(calls), "", "", "")),
        left=2,
        title=f"{calls} calls, {seconds:.1f} s of audio, {speed}stages one after another",
    )


def setup_table(profile: Breakdown) -> Table:
    """Return the table of load, compile and warm-up, which the wall time leaves out."""
    rows = tuple((row.name, row.clock, f"{row.total_ms:.1f}", str(row.count)) for row in profile.setup)
    return Table(("set-up", "clock", "total ms", "count"), rows, left=2)


def overlap_table(profile: Breakdown) -> Table:
    """Return the table of what ran in other threads beside the calls."""
    rows = tuple((*_cells(row)[:3], str(row.count)) for row in profile.overlapped)
    return Table(("overlapped", "clock", "total ms", "count"), rows, left=2)


def _cells(row: StageRow) -> tuple[str, ...]:
    return (
        row.name,
        row.clock,
        f"{row.total_ms:.2f}",
        f"{row.share:.1%}",
        "" if row.per_call_ms is None else f"{row.per_call_ms:.2f}",
        "" if row.per_audio_second_ms is None else f"{row.per_audio_second_ms:.3f}",
        str(row.count),
        _small(row.p50_ms),
        _small(row.p95_ms),
        _small(row.max_ms),
    )


def _small(milliseconds: float) -> str:
    """Return milliseconds with as many digits as a step of the decoding loop needs."""
    return f"{milliseconds:.4f}" if abs(milliseconds) < 0.1 else f"{milliseconds:.2f}"


def node_table(rows: Sequence[NodeRow], top: int = _TOP) -> Table:
    """Return the dearest nodes."""
    cells = tuple(
        (
            row.graph,
            row.operator,
            row.provider,
            _shortened(row.shape),
            f"{row.total_ms:.2f}",
            f"{row.share:.1%}",
            str(row.count),
            _shortened(row.node),
        )
        for row in rows[:top]
    )
    heads = ("graph", "operator", "provider", "input shapes", "ms", "share", "runs", "node")
    title = f"The {len(cells)} dearest of {len(rows)} nodes (ONNX Runtime's profile)"
    return Table(heads, cells, left=4, words_last=True, title=title)


def operator_table(rows: Sequence[NodeRow], top: int = _TOP) -> Table:
    """Return the dearest operators, all their nodes together."""
    cells = tuple(
        (operator, provider, f"{total:.2f}", f"{share:.1%}", str(count))
        for operator, provider, total, share, count in top_operators(rows)[:top]
    )
    return Table(("operator", "provider", "ms", "share", "runs"), cells, left=2)


def _shortened(text: str, width: int = 44) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def memory_table(rows: Sequence[StageMemory], arenas: dict[str, int]) -> Table:
    """Return peak resident size and growth by stage, and below it what each session's arena held at most."""
    cells = tuple((row.name, format_bytes(row.peak_rss_bytes), format_bytes(row.grown_bytes)) for row in rows)
    notes = tuple(f"arena of {name}: {format_bytes(held)} at most" for name, held in arenas.items())
    return Table(("stage", "peak resident", "grew by"), cells, title="Memory, in a run of its own", notes=notes)


def load_table(times: dict[str, dict[str, float]]) -> Table:
    """Return how long ORT read each graph and how long it optimised and prepared it."""
    cells = tuple((name, f"{parts['read']:.1f}", f"{parts['optimise']:.1f}") for name, parts in times.items())
    return Table(("load: graph", "read ms", "optimise ms"), cells)
