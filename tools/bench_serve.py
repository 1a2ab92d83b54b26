#!/usr/bin/env python3
"""Measure `tdt serve`: what a request costs beyond the library, throughput under load, latency by load, the start.

    python tools/bench_serve.py overhead [--model M] [--runs 40]
                                           one caller: the server's time for each clip less the library's, interleaved
    python tools/bench_serve.py load [--model M] [--callers 1 4 16 64] [--runs 4]
                                           throughput against transcribe(list), and p50/p95/p99; every text is compared
    python tools/bench_serve.py start [--model M] [--runs 5]
                                           from the command to /health, with the server's check of itself

Clips: the bundled recordings and, where they are there, the evaluation clips in tests/data/eval. Results go to standard
output as tables; name the machine beside them. The server runs in a process of its own, the callers in this one.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from pathlib import Path

import numpy as np
from _serve_load import Reply, load, request, served

import tdt

ROOT = Path(__file__).resolve().parents[1]
PORT = 8765
WHAT = ("overhead", "load", "start")


def clips(most_seconds: float = 30.0) -> list[bytes]:
    """Return encoded clips, short and long mixed."""
    folders = [ROOT / "tdt" / "models" / "recordings", ROOT / "tests" / "data" / "eval"]
    files = [file for folder in folders for file in sorted(folder.glob("*.flac"))]
    sounds = [file.read_bytes() for file in files]
    return [sound for sound in sounds if seconds_of(sound) <= most_seconds]


def seconds_of(sound: bytes) -> float:
    import io

    import soundfile

    return float(soundfile.info(io.BytesIO(sound)).duration)


def overhead(asr: tdt.Recognizer, options: list[str], runs: int) -> None:
    sounds = clips()
    with served(PORT, *options):
        asyncio.run(_overhead(asr, sounds, runs))


async def _overhead(asr: tdt.Recognizer, sounds: list[bytes], runs: int) -> None:
    requests = [request(sound) for sound in sounds]
    gaps, alone, through = [], [], []
    for _ in range(runs):
        for number, sound in enumerate(sounds):
            begun = time.perf_counter()
            asr.transcribe(sound)
            library = time.perf_counter() - begun
            (reply,), _ = await load(PORT, [requests[number]], 1, 1)
            gaps.append(reply.seconds - library)
            alone.append(library)
            through.append(reply.seconds)
    print(f"{len(gaps)} requests of {len(sounds)} clips, one after another")
    print(f"library p50 {1e3 * statistics.median(alone):.1f} ms, server p50 {1e3 * statistics.median(through):.1f} ms")
    print(f"overhead p50 {1e3 * statistics.median(gaps):.2f} ms, p95 {1e3 * np.percentile(gaps, 95):.2f} ms")


def under_load(asr: tdt.Recognizer, options: list[str], callers: list[int], runs: int) -> None:
    sounds = clips()
    requests = [request(sound) for sound in sounds]
    wanted = [transcript.text for transcript in asr.transcribe(sounds)]
    audio = sum(map(seconds_of, sounds))
    print(f"{len(sounds)} clips of {audio / len(sounds):.1f} s in the mean")
    print("| callers | requests/s | x real time | of transcribe(list) | p50 ms | p95 ms | p99 ms | wrong |")
    print("|---|---|---|---|---|---|---|---|")
    with served(PORT, *options):
        for many in callers:
            each = max(runs, -(-3 * many // len(sounds)))
            asyncio.run(load(PORT, requests, many, 1))  # its first shapes
            ratios, replies = [], []
            for _ in range(3):
                found, took = asyncio.run(load(PORT, requests, many, each))
                replies += found
                begun = time.perf_counter()
                asr.transcribe(sounds * each)
                ratios.append(((time.perf_counter() - begun) / took, took))
            took = min(took for _, took in ratios)
            ratio = statistics.median(ratio for ratio, _ in ratios)
            _row(many, replies, wanted, ratio, each * audio / took, took, each)


def _row(many: int, replies: list[Reply], wanted: list[str], ratio: float, pace: float, took: float, each: int) -> None:
    wrong = sum(reply.status != 200 or reply.text != wanted[reply.clip] for reply in replies)
    p50, p95, p99 = 1e3 * np.percentile([reply.seconds for reply in replies], [50, 95, 99])
    rate = each * len(wanted) / took
    print(f"| {many} | {rate:.1f} | {pace:.0f} | {ratio:.2f} | {p50:.0f} | {p95:.0f} | {p99:.0f} | {wrong} |")


def start(options: list[str], runs: int) -> None:
    took = []
    for _ in range(runs + 1):
        with served(PORT, *options) as (_, seconds):
            took.append(seconds)
    print(f"start to healthy: first {took[0]:.2f} s, then least {min(took[1:]):.2f} s, median "
          f"{statistics.median(took[1:]):.2f} s of {runs}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=WHAT)
    parser.add_argument("--model", help="(default: the bundled one)")
    parser.add_argument("--provider", default="cpu")
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--serve", nargs=argparse.REMAINDER, default=[], help="further options of tdt serve")
    args = parser.parse_args()
    options = ["--provider", args.provider, *(["--model", args.model] if args.model else []), *args.serve]
    if args.what == "start":
        start(options, args.runs)
        return
    with tdt.load(args.model, provider=args.provider) as asr:
        asr.warmup()
        if args.what == "overhead":
            overhead(asr, options, args.runs)
        else:
            under_load(asr, options, args.callers, args.runs)


if __name__ == "__main__":
    main()
