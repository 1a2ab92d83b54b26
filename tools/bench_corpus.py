#!/usr/bin/env python
"""What a corpus costs beside the model: against one call over the same list, against the forecast, in memory, on Ray.

    tools/bench_corpus.py throughput             `tdt corpus` against transcribe(list), by processes and threads
    tools/bench_corpus.py forecast               `tdt corpus plan` against runs on this machine
    tools/bench_corpus.py memory --items 20000   memory of driver and workers over a long run
    tools/bench_corpus.py ray --workers 2        the same work on a Ray cluster of this machine, and without

Audio: the evaluation clips of tests/data, again and again. Model: the bundled one, or --model.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import soundfile

from tdt.cores import usable_cores
from tdt.corpus import Hardware, Settings, ShardRule, forecast, label, packs_of, shards_done, speed_of

CLIPS = sorted((Path(__file__).resolve().parents[1] / "tests/data/eval").glob("*.flac"))
LIST_CALL = """
import json, sys, time, tdt
model, threads, path = sys.argv[1] or None, int(sys.argv[2]) or None, sys.argv[3]
files = [json.loads(line)["audio_filepath"] for line in open(path)]
with tdt.load(model, threads=threads) as asr:
    asr.transcribe(files[:64])
    began = time.perf_counter()
    asr.transcribe(files)
    print(time.perf_counter() - began)
"""


def manifest(folder: Path, items: int, seconds: float | None = None) -> tuple[Path, float]:
    """Write a manifest of so many clips, each cut to so many seconds; return it and its seconds of sound."""
    path, total = folder / f"{items}.jsonl", 0.0
    lengths = [soundfile.info(clip).duration for clip in CLIPS]
    with path.open("w") as file:
        for number in range(items):
            duration = min(seconds or 1e9, lengths[number % len(CLIPS)])
            total += duration
            file.write(json.dumps({"audio_filepath": str(CLIPS[number % len(CLIPS)]), "duration": duration}) + "\n")
    return path, total


def run(
    args: Any, path: Path, hardware: Hardware, out: str | None = None, **options: Any
) -> tuple[float, dict[str, Any]]:
    """Label a manifest into `out`, or a folder that is thrown away; return the wall seconds and the summary."""
    settings = Settings({"model": args.model, "detail": "words"})
    with tempfile.TemporaryDirectory() as spare:
        began = time.perf_counter()
        rule = ShardRule(args.shard_items)
        summary = label([str(path)], out or spare, settings, rule=rule, hardware=hardware, **options)
        return time.perf_counter() - began, summary


def throughput(args: Any, folder: Path) -> None:
    """Interleaved rounds; the least time of each counts. What starting costs is taken off by a run of a quarter."""
    cores = usable_cores()
    ways = {f"corpus, {w} workers": Hardware(workers=w, threads=max(1, cores // w)) for w in sorted({1, cores})}
    whole, seconds = manifest(folder, args.items)
    part, part_seconds = manifest(folder, args.items // 4)
    best: dict[str, float] = {}
    for _ in range(args.rounds):
        call = [sys.executable, "-c", LIST_CALL, args.model or "", str(cores), str(whole)]
        took = {"transcribe(list)": float(subprocess.run(call, capture_output=True, text=True, check=True).stdout)}
        for name, hardware in ways.items():
            took[name + ", with the start"] = run(args, whole, hardware)[0]
            took[name + ", a quarter"] = run(args, part, hardware)[0]
        best = {name: min(value, best.get(name, value)) for name, value in took.items()}
    one = seconds / best["transcribe(list)"]
    print(f"{args.items} items, {seconds:.0f} s of sound, {cores} cores\ntranscribe(list): {one:.1f} x real time")
    for name in ways:
        all_of_it = seconds / best[name + ", with the start"]
        steady = (seconds - part_seconds) / (best[name + ", with the start"] - best[name + ", a quarter"])
        print(f"{name}: {steady:.1f} x ({steady / one:.2f} of it); {all_of_it:.1f} x with the start")


def forecasts(args: Any, folder: Path) -> None:
    """Learn from a run of clips, half of them cut to a second, and foretell others: workers, shards, lengths."""
    cores = usable_cores()
    shards: list[Any] = []
    for seconds in (None, 1.0):
        path, _ = manifest(folder, args.items, seconds)
        with tempfile.TemporaryDirectory() as out:
            wall, known = run(args, path, Hardware(workers=cores, threads=1), out=out)
            shards += [(shard.items, shard.audio_seconds, shard.seconds) for shard in shards_done([Path(out)])]
        start = wall - known["worker_seconds"] / cores
    speed = speed_of(shards)
    print(f"learned: {speed.rtfx:.0f} x a worker, {speed.item_seconds * 1e3:.1f} ms an item; started in {start:.1f} s")
    for items, workers, seconds in ((args.items * 2, cores, None), (args.items, 1, None), (args.items * 2, cores, 2.0)):
        other, _ = manifest(folder, items, seconds)
        lengths = [
            [length or 0.0 for length in pack.lengths] for pack in packs_of([str(other)], ShardRule(args.shard_items))
        ]
        said = forecast(lengths, rtfx=speed.rtfx, item_seconds=speed.item_seconds, workers=workers, start_seconds=start)
        wall, _ = run(args, other, Hardware(workers=workers, threads=1))
        off = f"{said.wall_seconds / wall - 1:+.0%}"
        told = f"{said.wall_seconds:.1f} s foretold, {wall:.1f} s taken ({off}), padding {said.padding_share:.0%}"
        print(f"{items} items, {workers} workers, at most {seconds or 'any'} s: {told}")


def resident(pid: int) -> float:
    """Megabytes of a process that are in memory."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


def memory(args: Any, folder: Path) -> None:
    """Sample at each shard; a run that leaks grows from its second tenth to its last."""
    path, _ = manifest(folder, args.items, 0.6)
    samples: list[tuple[int, float, list[float]]] = []

    def look(progress: Any) -> None:
        workers = sorted(resident(child.pid) for child in active_children() if child.pid)
        samples.append((progress.items, resident(os.getpid()), workers))

    wall, _ = run(args, path, Hardware(workers=args.workers, threads=1), progress=look)
    print(f"{args.items} items in {wall:.0f} s")
    for tenth in range(1, 11):
        items, driver, workers = samples[len(samples) * tenth // 10 - 1]
        print(f"{items:7d} items: driver {driver:.0f} MB, workers {', '.join(f'{one:.0f}' for one in workers)} MB")


def on_ray(args: Any, folder: Path) -> None:
    """Print what Ray adds: its start, and the time between shards."""
    import ray

    path, seconds = manifest(folder, args.items)
    part, part_seconds = manifest(folder, args.items // 4)
    ray.init(num_cpus=args.workers, log_to_driver=False)
    for name, hardware in (
        ("without Ray", Hardware(workers=args.workers, threads=1)),
        ("on Ray", Hardware(workers=args.workers, threads=1, ray="local")),
    ):
        long, short = (min(run(args, one, hardware)[0] for _ in range(args.rounds)) for one in (path, part))
        steady = (seconds - part_seconds) / (long - short)
        print(f"{name}: {steady:.1f} x real time, {long:.1f} s with the start for {seconds:.0f} s of sound")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = {"throughput": throughput, "forecast": forecasts, "memory": memory, "ray": on_ray}
    parser.add_argument("action", choices=actions)
    parser.add_argument("--model", help="folder or name")
    parser.add_argument("--items", type=int, default=800)
    parser.add_argument("--shard-items", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        actions[args.action](args, Path(folder))


if __name__ == "__main__":
    main()
