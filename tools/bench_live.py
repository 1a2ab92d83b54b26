#!/usr/bin/env python3
"""Measure live recognition: speed by latency, word errors by context, memory over hours, many streams at once.

    python tools/bench_live.py speed [--model M …] [--precision float32 int8] [--seconds 60]
                                           a chunk's time and times real time, for latencies of 4, 2 and 1 s
    python tools/bench_live.py wer         word errors and the longest run of deleted words, by context
    python tools/bench_live.py memory      resident memory of a stream after 5 minutes and after 3 hours
    python tools/bench_live.py many        32 streams in lockstep against 32 alone, interleaved

Clips: the evaluation clips in tests/data/eval. Results go to standard output as a table; name the machine beside them.
"""

from __future__ import annotations

import argparse

from _live_runs import many, memory, speed
from _live_wer import wer

WHAT = ("speed", "wer", "memory", "many")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=WHAT)
    parser.add_argument("--model", nargs="+", default=[""], help="for speed (default: the bundled one)")
    parser.add_argument("--precision", nargs="+", default=["float32"], help="for speed: of each model, in order")
    parser.add_argument("--provider", default="cpu", help="for speed")
    parser.add_argument("--seconds", type=float, default=60.0, help="audio of a stream, for speed")
    parser.add_argument("--minutes", type=float, default=180.0, help="for memory")
    parser.add_argument("--streams", type=int, default=32, help="for many")
    args = parser.parse_args()
    match args.what:
        case "speed":
            speed(args.model, args.precision, args.provider, args.seconds)
        case "wer":
            wer()
        case "memory":
            memory(args.minutes)
        case "many":
            many(args.streams)


if __name__ == "__main__":
    main()
