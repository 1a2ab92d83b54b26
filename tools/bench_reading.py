#!/usr/bin/env python3
"""Measure how fast sound files are read, and in how much memory, beside FFmpeg's own program where one is given.

Each reading is a process of its own: decoding to mono at the file's own rate, then with resampling to 16 kHz as a
recogniser reads. FFmpeg's program decodes to its pipe (`-f s16le`), which is what a wrapper around it would read.

    tools/bench_reading.py hour.m4a hour.mp3 hour.opus --ffmpeg /usr/bin/ffmpeg
    tools/bench_reading.py --make DIR --hours 1        writes such files first, of the bundled recordings, and two hours
                                                       of digital silence as Matroska of a few MB
    tools/bench_reading.py hour.flac hour.m4a silence.mka --transcribe --rounds 3
                                                       what a transcription takes beside the reading: time and memory
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

# Container, codec, rate and file ending of what --make writes.
MADE = (
    ("FLAC", "PCM_16", 16000, "flac"), ("MP3", "MPEG_LAYER_III", 44100, "mp3"), ("OGG", "OPUS", 48000, "opus"),
    ("ipod", "aac", 44100, "m4a"), ("webm", "libopus", 48000, "webm"),
)  # fmt: skip


def make(folder: Path, hours: float) -> list[Path]:
    """Write files of so many hours of speech, and twice as many of silence."""
    import numpy as np

    from tests.sound_files import Kind, by_ffmpeg, by_sndfile, speech

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for container, codec, rate_hz, ending in MADE:
        path = folder / f"hour.{ending}"
        samples = speech(hours * 3600, rate_hz)
        kind = Kind(container, codec, rate_hz, "sndfile" if container.isupper() else "ffmpeg")
        if kind.maker == "sndfile":
            path.write_bytes(by_sndfile(samples, rate_hz, container, codec))
        else:
            path.write_bytes(by_ffmpeg({"": samples[:, None]}, rate_hz, container, codec))
        written.append(path)
    written.append(folder / "silence.mka")
    silence = np.zeros((round(2 * hours * 3600) * 48000, 2), np.float32)
    written[-1].write_bytes(by_ffmpeg({"": silence}, 48000, "matroska", "flac"))
    for path in written:
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB", file=sys.stderr)
    return written


def read_here(path: str, how: str) -> None:
    """Read a file in this process and print what it took."""
    from tdt.audio.decoders import open_sound
    from tdt.audio.reader import BlockReader
    from tdt.audio.sources import Encoded, open_bytes

    start, used = time.perf_counter(), time.process_time()
    seconds = 0.0
    if how == "decode":
        source = open_bytes(Path(path), path)
        assert isinstance(source, Encoded)
        with open_sound(source) as sound:
            for block in sound.blocks:
                seconds += len(block.samples) / block.rate_hz
    elif how == "transcribe":
        import tdt

        with tdt.load() as asr:
            seconds = asr.transcribe(path).audio_seconds
    else:
        with BlockReader(path) as reader:
            seconds = sum(map(len, reader)) / 16000
    _say(seconds, time.perf_counter() - start, time.process_time() - used, resource.RUSAGE_SELF)


def read_by_program(path: str, program: str) -> None:
    """Let FFmpeg's program decode a file to its pipe, and print what that took of both processes."""
    start = time.perf_counter()
    command = [program, "-nostdin", "-v", "error", "-threads", "1", "-i", path, "-f", "s16le", "-"]
    count = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        while part := run.stdout.read(1 << 16):
            count += len(part)
    children, own = resource.getrusage(resource.RUSAGE_CHILDREN), resource.getrusage(resource.RUSAGE_SELF)
    used = sum(usage.ru_utime + usage.ru_stime for usage in (children, own))
    _say(float(count), time.perf_counter() - start, used, resource.RUSAGE_CHILDREN)


def _say(seconds: float, wall: float, cpu: float, who: int) -> None:
    from tdt.profiling.memory import peak_rss_bytes

    # Not what getrusage says of this process: that begins with its parent's.
    own = who == resource.RUSAGE_SELF
    peak = peak_rss_bytes() / 1e6 if own else resource.getrusage(who).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "wall": wall, "cpu": cpu, "peak_mb": peak}))


def measured(path: Path, how: str, rounds: int, program: str) -> dict[str, Any]:
    """Return the medians of several processes."""
    command = [sys.executable, str(Path(__file__).resolve()), "--child", how, "--ffmpeg", program, str(path)]
    runs = []
    for _ in range(rounds):
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    return {key: median(run[key] for run in runs) for key in runs[0]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--make", type=Path, metavar="DIR", help="write files of the bundled recordings first")
    parser.add_argument("--hours", type=float, default=1.0, help="of each (default: 1)")
    parser.add_argument("--rounds", type=int, default=5, help="processes of each reading (default: 5)")
    parser.add_argument("--transcribe", action="store_true", help="transcribe the files, too; the model is loaded anew")
    parser.add_argument("--ffmpeg", default="", metavar="PROGRAM", help="to compare with")
    parser.add_argument("--child", choices=("decode", "read", "program", "transcribe"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child == "program":
        read_by_program(str(args.files[0]), args.ffmpeg)
        return 0
    if args.child:
        read_here(str(args.files[0]), args.child)
        return 0
    files = [*args.files, *(make(args.make, args.hours) if args.make else [])]
    ways = ["decode", "read", *["program"] * bool(args.ffmpeg), *["transcribe"] * args.transcribe]
    print("| file | " + " | ".join(f"{way}, CPU s | wall s | peak MB" for way in ways) + " |")
    print("|---|" + "---|" * 3 * len(ways))
    for path in files:
        cells = [path.name]
        for way in ways:
            found = measured(path, way, args.rounds, args.ffmpeg)
            cells += [f"{found['cpu']:.2f}", f"{found['wall']:.2f}", f"{found['peak_mb']:.0f}"]
        print("| " + " | ".join(cells) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
