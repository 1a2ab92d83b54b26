"""The drivers of `tdt bench`: sweep, report and soak; each opens its output first, then measures, then writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tdt.profiling.bench import run_bench
from tdt.profiling.environment import describe, environment_block, invocation
from tdt.profiling.output import open_output, say
from tdt.profiling.report import report_tables
from tdt.profiling.reporting import findings_of
from tdt.profiling.rows import bench_table, document, gpu_table
from tdt.profiling.sampling import Budget
from tdt.profiling.selecting import known_of, our_entries, with_base
from tdt.profiling.soaking import soak_table, soaked
from tdt.profiling.tables import WRITERS, Table
from tdt.profiling.worker import Worker

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from tdt.profiling.bench import Entry
    from tdt.profiling.cases import Case
    from tdt.profiling.cautions import Caution
    from tdt.profiling.rows import Row


def run_sweep(
    args: argparse.Namespace,
    cases: Sequence[Case],
    peers: Callable[[str | None], Sequence[Entry]] = lambda _: (),
    verdict: Callable[[Sequence[Row]], Sequence[str]] = lambda _: (),
) -> int:
    """Measure models × providers × precisions × lengths × batches and write the rows.

    Parameters
    ----------
    args : Namespace
        The options of `tdt bench`.
    cases : sequence of Case
        From :func:`tdt.profiling.selecting.cases_of`.
    peers : callable
        Model folder → other contenders for the same files, measured in turn with ours.
    verdict : callable
        Rows → lines for the reader, told on the standard error at the end.

    Raises
    ------
    OptionError
        An option has no usable value.
    """
    models: list[str | None] = args.model or [None]
    entries = [
        entry
        for model in models
        for entry in with_base([*our_entries(model, args), *peers(model)], model, args.baseline, known_of(args))
    ]
    budget = Budget(args.min_runs, args.min_seconds, args.max_seconds)
    with open_output(args.output) as stream:
        outcome = run_bench(
            entries, cases, budget, open_runner=Worker, note=say, keep=lambda rows: _keep(rows, stream, args)
        )
        if args.output in {None, "-"}:
            stream.write(render(outcome.rows, args.format))
    if args.plot:
        draw(outcome.rows, Path(args.plot))
    for line in verdict(outcome.rows):
        say(line)
    return 1 if outcome.failed else 0


def _keep(rows: list[Row], stream: TextIO, args: argparse.Namespace) -> None:
    """Save what there is so far, so that an interrupted sweep has not been in vain."""
    if args.output not in {None, "-"}:
        stream.seek(0)
        stream.write(render(rows, args.format))
        stream.truncate()
        stream.flush()


def render(rows: Sequence[Row], form: str) -> str:
    """Return the rows as table, JSON, CSV or Markdown; cautions, environment and command below a table."""
    block = environment_block()
    if form == "json":
        return json.dumps(document(rows, block, invocation()), ensure_ascii=False, allow_nan=False, indent=1) + "\n"
    notes = caution_notes(rows)
    notes += [describe(block), invocation()]
    written = WRITERS[form](bench_table(rows, notes))
    device = gpu_table(rows)
    return written + ("\n" + WRITERS[form](device) if device is not None and form != "csv" else "")


def caution_notes(rows: Sequence[Row]) -> list[str]:
    """Return a line a caution: in which rows, what was seen, and what to do."""
    seen: dict[Caution, list[str]] = {}
    for row in rows:
        for raised in row.cautions:
            where = f"{row.contender} {row.precision} {row.clip_seconds:.1f} s × {row.batch}"
            seen.setdefault(raised.caution, []).append(f"{where} ({raised.seen.rstrip('.')})")
    return [
        f"{caution.name.lower().replace('_', '-')}: {', '.join(where)}. {caution.value}"
        for caution, where in seen.items()
    ]


def draw(rows: Sequence[Row], folder: Path) -> None:
    """Draw RTFx against batch and length, and accuracy against latency."""
    from tdt.profiling.picture import draw_lines, draw_points

    folder.mkdir(parents=True, exist_ok=True)
    by_batch: dict[str, list[tuple[float, float]]] = {}
    by_length: dict[str, list[tuple[float, float]]] = {}
    points: dict[str, tuple[float, float]] = {}
    for row in rows:
        label = f"{row.contender} {row.model} {row.precision} {row.provider}"
        by_batch.setdefault(f"{label}, {row.clip_seconds:.0f} s", []).append((row.batch, row.rtfx))
        by_length.setdefault(f"{label}, batch {row.batch}", []).append((row.clip_seconds, row.rtfx))
        if row.agreement is not None:
            points[f"{label}, {row.clip_seconds:.0f} s × {row.batch}"] = (row.seconds.median * 1e3, row.agreement)
    draw_lines(by_batch, folder / "rtfx_by_batch.png", across="batch size", up="× real time")
    draw_lines(by_length, folder / "rtfx_by_length.png", across="seconds a clip", up="× real time")
    if points:
        draw_points(points, folder / "accuracy_by_latency.png", across="milliseconds a run", up="token agreement")


def run_soak(args: argparse.Namespace) -> int:
    """Transcribe many clips of mixed lengths and write how memory grew."""
    with open_output(args.output) as stream:
        report = soaked(args)
        if args.format == "json":
            stream.write(
                json.dumps({"schema": "tdt-soak", "version": 1, **report, "environment": environment_block()}) + "\n"
            )
        else:
            stream.write(WRITERS[args.format](soak_table(report)))
    return 0


def run_report(args: argparse.Namespace) -> int:
    """Measure every file on every provider that is here and write the report."""
    with open_output(args.output) as stream:
        findings = findings_of(args)
        if args.format == "json":
            whole = document(findings.rows, environment_block(), invocation())
            whole |= {"texts": [{"precision": key[0], "provider": key[1], "text": text}
                                for key, text in findings.texts.items()]}  # fmt: skip
            stream.write(json.dumps(whole, ensure_ascii=False, allow_nan=False, indent=1) + "\n")
        else:
            tables: list[Table] = report_tables(findings)
            stream.write("\n".join(WRITERS[args.format](table) for table in tables))
            stream.write(f"\n{describe(environment_block())}\n")
    return 0 if findings.rows else 1
