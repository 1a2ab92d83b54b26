"""`tdt bench --soak`: a thousand clips of mixed lengths through one recogniser."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.loading import load
from tdt.profiling.memory import soak
from tdt.profiling.output import say
from tdt.profiling.selecting import known_of, label_of, recordings_of
from tdt.profiling.stats import format_bytes
from tdt.profiling.tables import Table
from tdt.spec import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    import argparse

# Lengths that real requests have, in seconds; drawn anew for each clip so that shapes keep changing.
_SHORTEST, _LONGEST = 1.0, 30.0

# Growth beyond this much a clip would fill a gigabyte within a day's work of a hundred thousand clips.
_STEADY_BYTES_PER_CLIP = 10_000


def soaked(args: argparse.Namespace) -> dict[str, Any]:
    """Return growth of memory over `args.soak` clips cut from the recordings, seeded; a dictionary for JSON."""
    recordings = recordings_of(args.files, None)
    speech = np.concatenate([recording.samples for recording in recordings])
    speech = np.tile(speech, int(_LONGEST * SAMPLE_RATE_HZ / len(speech)) + 2)
    model, provider = (args.model or [None])[0], (args.provider or ["cpu"])[0]
    precision = args.precision[0]
    draw = np.random.default_rng(0)
    with load(model, provider=provider, precision=precision, decoder=args.decoder) as recognizer:

        def transcribe(_: int) -> None:
            count = int(draw.uniform(_SHORTEST, _LONGEST) * SAMPLE_RATE_HZ)
            start = int(draw.integers(0, len(speech) - count))
            recognizer.transcribe(speech[start : start + count], **known_of(args))

        report = soak(transcribe, args.soak, progress=lambda number: say(f"{number} of {args.soak} clips"))
    return {"model": label_of(model), "provider": provider, "precision": precision, **asdict(report)}


def soak_table(report: dict[str, Any]) -> Table:
    """Return the sizes after each tenth, and a verdict."""
    clips = report["clips"]
    rows = tuple((str(round(clips * (i + 1) / 10)), format_bytes(size)) for i, size in enumerate(report["rss_bytes"]))
    slope = report["bytes_per_clip"]
    steady = "steady" if slope <= _STEADY_BYTES_PER_CLIP else "GROWS"
    note = f"{steady}: {slope:+.0f} bytes a clip, {report['growth_bytes'] / 2**20:+.1f} MiB since the first tenth"
    title = (
        f"{report['model']} {report['precision']} {report['provider']}: clips of {_SHORTEST:.0f} to {_LONGEST:.0f} s"
    )
    return Table(("clips", "resident"), rows, left=0, title=title, notes=(note,))
