"""The report that started this project: each model file on each provider, CPU against GPU, why, and what to use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tdt.profiling.rows import versus
from tdt.profiling.stats import format_bytes, ratio, time_unit
from tdt.profiling.tables import Table
from tdt.runtime import choose_provider

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from tdt.onnxfile import Quantization
    from tdt.profiling.rows import Row
    from tdt.runtime import Provider

# Below this agreement with float32 a faster file is not recommended without saying so.
_GOOD_AGREEMENT = 0.95


@dataclass(frozen=True, slots=True)
class Findings:
    """What the report is made of.

    Parameters
    ----------
    rows : sequence of Row
        Two cases each, the short and the long clip.
    texts : mapping
        (precision, provider) → what was recognised in the short clip.
    kinds : mapping
        Precision → kind of quantisation of the encoder file, told by its graph.
    refused : mapping
        (precision, provider) → why it could not be measured.
    missing : sequence of str
        What this machine lacks, a sentence each.
    available : collection of str
        Providers that started here.
    """

    rows: Sequence[Row]
    texts: Mapping[tuple[str, str], str]
    kinds: Mapping[str, Quantization]
    refused: Mapping[tuple[str, str], str]
    missing: Sequence[str]
    available: Collection[Provider]


def report_tables(findings: Findings) -> list[Table]:
    """Return the tables of the report, in order."""
    tables = [_speed_table(findings)]
    versus_cpu = _speed_up_table(findings.rows)
    if versus_cpu is not None:
        tables.append(versus_cpu)
    tables += [_text_table(findings), _advice_table(findings)]
    return tables


def _speed_table(findings: Findings) -> Table:
    """Return load time, memory, short and long clip of each (precision, provider)."""
    unit = time_unit(min((row.seconds.median for row in findings.rows), default=1.0))
    cells = []
    for (precision, provider), pair in _pairs(findings.rows).items():
        first, accuracy = pair[0], pair[-1].agreement
        cells.append(
            (
                precision,
                findings.kinds.get(precision, ""),
                provider,
                f"{first.facts.setup_seconds.get('load', first.load_seconds):.2f}",
                f"{first.facts.setup_seconds.get('compile', 0.0):.2f}",
                format_bytes(max(row.peak_bytes for row in pair)),
                *(f"{unit.text(row.seconds.median)} ({row.rtfx:.1f}×)" for row in pair),
                "" if accuracy is None else f"{accuracy:.1%}",
                _busy(pair[-1]),
            )
        )
    lengths = [f"{row.clip_seconds:.1f} s clip, {unit.name}" for row in next(iter(_pairs(findings.rows).values()), ())]
    heads = (
        "precision",
        "kind",
        "provider",
        "load s",
        "of it compiling",
        "peak memory",
        *lengths,
        "agreement",
        "GPU busy",
    )
    return Table(heads, tuple(cells), left=3, title="Load and run (median; × real time)", notes=tuple(findings.missing))


def _pairs(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """Return the rows of each (precision, provider), the shorter clip first."""
    pairs: dict[tuple[str, str], list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.clip_seconds):
        pairs.setdefault((row.precision, row.provider), []).append(row)
    return pairs


def _busy(row: Row) -> str:
    use = row.facts.gpu
    return "" if use is None or use.sm_percent is None else f"{use.sm_percent:.0f} %"


def _speed_up_table(rows: Sequence[Row]) -> Table | None:
    """Return the CPU's time over each other provider's; None where there is nothing but the CPU."""
    cells = []
    base = {(row.precision, row.case): row for row in rows if row.provider == "cpu"}
    for row in rows:
        cpu = base.get((row.precision, row.case))
        if row.provider != "cpu" and cpu is not None:
            compared = versus(ratio(cpu.seconds, row.seconds))
            cells.append((row.precision, row.provider, f"{row.clip_seconds:.1f} s", compared, _busy(row)))
    heads = ("precision", "provider", "clip", "against the CPU", "GPU busy")
    return Table(heads, tuple(cells), left=3, title="Speed-up, CPU / GPU") if cells else None


def _text_table(findings: Findings) -> Table:
    cells = tuple((precision, provider, text) for (precision, provider), text in findings.texts.items())
    return Table(("precision", "provider", "text of the short clip"), cells, left=3)


def _advice_table(findings: Findings) -> Table:
    """Return where each file belongs and why, then what was found wrong, then the recommendation."""
    cells = []
    for precision, kind in findings.kinds.items():
        choice = choose_provider(kind, findings.available)
        cells.append((precision, choice.provider, choice.why))
    notes = [f"diagnosis: {line}" for line in diagnosis(findings)]
    notes.append(f"recommendation: {recommendation(findings)}")
    heads = ("precision", "belongs on", "because")
    return Table(heads, tuple(cells), left=3, title="Which file on which provider", notes=tuple(notes))


def diagnosis(findings: Findings) -> list[str]:
    """Return a line for each thing that explains a figure of the report."""
    lines = [f"{precision} on {provider}: {why}" for (precision, provider), why in findings.refused.items()]
    for row in findings.rows:
        where = f"{row.precision} on {row.provider}, {row.clip_seconds:.1f} s"
        placement, busy = row.facts.placement, _busy(row)
        if row.provider != "cpu" and placement is not None and placement.computing_on_cpu:
            idle = f" (GPU busy {busy})" if busy else ""
            lines.append(f"{where}: GPU idle: {placement}{idle}")
        lines += [f"{where}: {raised}" for raised in row.cautions]
    return lines


def recommendation(findings: Findings) -> str:
    """Return which file on which provider was fastest on the long clip, among those where files belong."""
    belongs = {
        (precision, choose_provider(kind, findings.available).provider) for precision, kind in findings.kinds.items()
    }
    longest = [pair[-1] for key, pair in _pairs(findings.rows).items() if (key[0], _provider_name(key[1])) in belongs]
    good = [row for row in longest if row.agreement is None or row.agreement >= _GOOD_AGREEMENT]
    if not longest:
        return "nothing could be measured; see the diagnosis"
    best = max(good or longest, key=lambda row: row.rtfx)
    said = f"{best.precision} on {best.provider} ({best.rtfx:.1f} × real time"
    said += f", {best.agreement:.1%} of the tokens as in float32)" if best.agreement is not None else ")"
    faster = max(longest, key=lambda row: row.rtfx)
    if faster is not best:
        said += (
            f"; {faster.precision} on {faster.provider} is faster ({faster.rtfx:.1f} ×) "
            f"but only {faster.agreement:.1%} of its tokens agree"
        )
    return said


def _provider_name(provider: str) -> str:
    """Return the provider without device and options."""
    return provider.split(",", 1)[0].split(":", 1)[0]
