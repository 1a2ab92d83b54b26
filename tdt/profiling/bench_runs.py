"""The drivers of `tdt bench`: sweep, report and soak; each opens its output first, then measures, then writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tdt.errors import ModelFileNotFoundError, OptionError
from tdt.profiling.bench import Entry, run_bench
from tdt.profiling.cases import Recording, make_cases, read_references, reference_for
from tdt.profiling.environment import describe, environment, invocation
from tdt.profiling.output import open_output, say
from tdt.profiling.rows import bench_table, document, gpu_table
from tdt.profiling.sampling import Budget
from tdt.profiling.tables import WRITERS, Table
from tdt.profiling.worker import Worker

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from tdt.profiling.cases import Case
    from tdt.profiling.cautions import Caution
    from tdt.profiling.rows import Row
    from tdt.spec import Precision


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
        From :func:`cases_of`.
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
        for entry in with_base([*our_entries(model, args), *peers(model)], model, args.baseline)
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
    block = environment()
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


def our_entries(model: str | None, args: argparse.Namespace) -> list[Entry]:
    """Return an entry a provider and precision that the model folder has."""
    from tdt.profiling.contenders import Ours

    entries = []
    for precision in precisions_of(model, args.precision):
        for provider in args.provider or ["cpu"]:
            ours = Ours(model, provider, precision, args.decoder)
            entries.append(Entry(ours, "tdt", label_of(model), provider, precision))
    return entries


def with_base(entries: Sequence[Entry], model: str | None, baseline: str | None) -> list[Entry]:
    """Return the entries of a model and, where none of them is its float32 run on the CPU, that run for comparison.

    Parameters
    ----------
    entries : sequence of Entry
    model : str or None
        Their model.
    baseline : str or None
        Folder of the float32 files, where the model's own folder has none.
    """
    from tdt.model.layouts import find_model
    from tdt.profiling.contenders import Ours

    if any((entry.who, entry.provider, entry.precision) == ("tdt", "cpu", "float32") for entry in entries):
        return list(entries)
    source = baseline or model
    if find_model(source)[0].encoder_precision != "float32":
        say(f"{label_of(model)} has no float32 files: agreement is not measured. Name some: --baseline DIR")
        return list(entries)
    base = Entry(Ours(source, "cpu", "float32"), "tdt", label_of(model), "cpu", "float32", measured=False)
    return [*entries, base]


def precisions_of(model: str | None, asked: Sequence[Precision]) -> list[Precision]:
    """Return those of the precisions asked for that the folder's encoder has.

    Raises
    ------
    OptionError
        The folder has none of them.
    """
    from tdt.model.layouts import find_model

    found = []
    for precision in dict.fromkeys(asked):
        try:
            files, _ = find_model(model, precision=precision)
        except ModelFileNotFoundError:
            say(f"{label_of(model)} has no {precision} files: left out")
            continue
        if files.encoder_precision == precision:
            found.append(precision)
    if not found:
        raise OptionError("precision", ",".join(asked), f"a precision that {label_of(model)} has")
    return found


def label_of(model: str | None) -> str:
    """Return what rows call the model."""
    return "parakeet-tdt-tiny" if model is None else Path(model).name or model


def cases_of(args: argparse.Namespace) -> list[Case]:
    """Return the cases that the options ask for, the audio read.

    Raises
    ------
    OptionError
        The references cannot be read.
    AudioError
        A file cannot be read.
    """
    return make_cases(recordings_of(args.files, args.references), args.length, args.batch)


def recordings_of(files: Sequence[str], references: str | None) -> list[Recording]:
    """Return the recordings to measure on: the files, or the bundled ones where there are none.

    Raises
    ------
    AudioError
        A file cannot be read.
    OptionError
        The references cannot be read, or are of other files.
    """
    from tdt.audio.loading import load_audio

    said = read_references(Path(references)) if references is not None else {}
    bundled = sorted((Path(__file__).parents[1] / "models" / "recordings").glob("*.flac"))
    paths = [Path(name) for name in files] or bundled
    if references is not None and not any(reference_for(path, said) for path in paths):
        raise OptionError("references", references, f"lines of file name and text for clips such as {paths[0].name}")
    return [Recording(path.stem, load_audio(path).samples, reference_for(path, said)) for path in paths]


def run_soak(args: argparse.Namespace) -> int:
    """Transcribe many clips of mixed lengths and write how memory grew."""
    from tdt.profiling.soaking import soak_table, soaked

    with open_output(args.output) as stream:
        report = soaked(args)
        if args.format == "json":
            stream.write(
                json.dumps({"schema": "tdt-soak", "version": 1, **report, "environment": environment()}) + "\n"
            )
        else:
            stream.write(WRITERS[args.format](soak_table(report)))
    return 0


def run_report(args: argparse.Namespace) -> int:
    """Measure every file on every provider that is here and write the report."""
    from tdt.profiling.report import report_tables
    from tdt.profiling.reporting import findings_of

    with open_output(args.output) as stream:
        findings = findings_of(args)
        if args.format == "json":
            whole = document(findings.rows, environment(), invocation())
            whole |= {"texts": [{"precision": key[0], "provider": key[1], "text": text}
                                for key, text in findings.texts.items()]}  # fmt: skip
            stream.write(json.dumps(whole, ensure_ascii=False, allow_nan=False, indent=1) + "\n")
        else:
            tables: list[Table] = report_tables(findings)
            stream.write("\n".join(WRITERS[args.format](table) for table in tables))
            stream.write(f"\n{describe(environment())}\n")
    return 0 if findings.rows else 1
