#!/usr/bin/env python3
"""Measure long audio: words, seams, memory, throughput, silence, resuming after a kill, how late words of a pipe come.

    python tools/bench_long.py wer          joined clips of 1, 10, 60 and 180 minutes against the clips' own errors
    python tools/bench_long.py seams        190 s of speech without pauses, cut into windows of 20, 30, 60 s, and uncut
    python tools/bench_long.py context      the same for several contexts: how the default was chosen
    python tools/bench_long.py memory       peak memory at 5 and 180 minutes, each in a process of its own
    python tools/bench_long.py activations  the bound behind --max-memory against what encoding takes
    python tools/bench_long.py throughput   a long file against short clips batched by hand, interleaved
    python tools/bench_long.py silence      an hour of digital silence, and of mains hum
    python tools/bench_long.py resume       kill -9 in the middle of an hour, resume, compare bytes
    python tools/bench_long.py paced        how late the words of a pipe come that is as slow as speech; --minutes 3
    python tools/bench_long.py unchanged    clips, and hours of joined ones, with and without a second look
    python tools/bench_long.py planted      speech that is made to be skipped: is it found

Clips: the evaluation clips in tests/data/eval. Results go to standard output as a table.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from _long_audio import GAPS
from _long_pace import paced
from _long_runs import activations, memory, resume, silence, throughput
from _long_seams import seams
from _long_skips import planted, unchanged
from _long_wer import wer

WHAT = ("wer", "seams", "context", "memory", "activations", "throughput", "silence", "resume", "paced", "unchanged",
        "planted")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=WHAT)
    parser.add_argument(
        "--minutes",
        type=float,
        nargs="+",
        default=[1, 10, 60, 180],
        help="lengths for wer, paced; the last: unchanged, planted",
    )
    parser.add_argument("--gaps", choices=GAPS, nargs="+", default=list(GAPS), help="what lies between")
    parser.add_argument("--draws", type=int, default=5, help="recordings of each kind up to 10 minutes, for wer")
    parser.add_argument("--model", default="", help="for activations (default: the bundled one)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        match args.what:
            case "wer":
                wer(args.minutes, args.gaps, args.draws, folder)
            case "seams":
                seams([None], [True, False])
            case "context":
                seams([0.0, 0.5, 1.0, 2.0, 4.0], [True])
            case "memory":
                memory(folder)
            case "activations":
                activations(args.model)
            case "throughput":
                throughput(folder)
            case "silence":
                silence(folder)
            case "resume":
                resume(folder)
            case "paced":
                paced(60 * args.minutes[0])
            case "unchanged":
                unchanged(args.minutes[-1], args.gaps)
            case "planted":
                planted(args.minutes[-1], args.gaps)


if __name__ == "__main__":
    main()
