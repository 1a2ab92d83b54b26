"""Collects what the report shows: every precision of the model on every provider that can start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.profiling.bench import Entry, run_bench
from tdt.profiling.contenders import Ours
from tdt.profiling.gpu import open_sampler
from tdt.profiling.output import say
from tdt.profiling.report import Findings
from tdt.profiling.sampling import Budget
from tdt.profiling.selecting import cases_of, known_of, label_of, precisions_of, with_base
from tdt.profiling.worker import Worker

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from tdt.onnxfile import Quantization
    from tdt.runtime import Provider
    from tdt.spec import Precision

_DEVICE_PROVIDERS: tuple[Provider, ...] = ("cuda", "tensorrt")


def findings_of(args: argparse.Namespace) -> Findings:
    """Measure and return what was found.

    Raises
    ------
    TdtError
        The model or the audio cannot be read.
    """
    model = (args.model or [None])[0]
    missing: list[str] = []
    providers: list[str] = args.provider or ["cpu", *_devices(missing)]
    precisions, known = precisions_of(model, args.precision), known_of(args)
    entries = [
        Entry(Ours(model, provider, precision, args.decoder, known), "tdt", label_of(model), provider, precision)
        for precision in precisions
        for provider in providers
    ]
    entries = with_base(entries, model, args.baseline, known)
    budget = Budget(args.min_runs, args.min_seconds, args.max_seconds)
    result = run_bench(entries, cases_of(args), budget, open_runner=Worker, note=say)
    refused = {(entry.precision, entry.provider): why for entry, why in result.failed}
    started = {row.facts.active for row in result.rows}
    available = [provider for provider in ("cpu", *_DEVICE_PROVIDERS) if provider in started]
    texts = {(row.precision, row.provider): row.text for row in reversed(result.rows)}
    ordered = {key: texts[key] for key in sorted(texts)}
    return Findings(result.rows, ordered, _kinds(model, precisions), refused, missing, available)


def _devices(missing: list[str]) -> list[str]:
    """Return device providers to try; without a card none, and say so."""
    sampler, reason = open_sampler()
    if sampler is None:
        missing.append(f"No GPU was measured: {reason}. `tdt doctor` says what a GPU run needs.")
        return []
    return [f"{provider}:0" for provider in _DEVICE_PROVIDERS]


def _kinds(model: str | None, precisions: Sequence[Precision]) -> dict[str, Quantization]:
    """Return the kind of quantisation of each precision's encoder, told by its graph."""
    from tdt.model import find_model
    from tdt.onnxfile import read_graph

    kinds: dict[str, Quantization] = {}
    for precision in precisions:
        files, _ = find_model(model, precision=precision)
        kinds[precision] = read_graph(files.encoder).quantization
    return kinds
