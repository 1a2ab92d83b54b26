#!/usr/bin/env python3
"""Measure long audio: word error rate, seams, memory, throughput, silence, and resuming after a kill.

    python tools/bench_long.py wer          joined clips of 1, 10, 60 and 180 minutes against the clips' own errors
    python tools/bench_long.py seams        190 s of speech without pauses, cut into windows of 20, 30, 60 s, and uncut
    python tools/bench_long.py context      the same for several contexts: how the default was chosen
    python tools/bench_long.py memory       peak memory at 5 and 180 minutes, each in a process of its own
    python tools/bench_long.py throughput   a long file against short clips batched by hand, interleaved
    python tools/bench_long.py silence      an hour of digital silence, and of mains hum
    python tools/bench_long.py resume       kill -9 in the middle of an hour, resume, compare bytes

Clips: the evaluation folder beside the project (../shared/models/eval). Results go to standard output as a table.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jiwer
import numpy as np
import soundfile

import tdt
from tdt import limits

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[1]
EVAL = ROOT.parent / "shared/models/eval"
RATE = 16000
GAPS = ("silence", "pause", "none", "music", "noise")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def read_clips(voice: str = "") -> list[tuple[np.ndarray, str]]:
    with (EVAL / "transcripts.tsv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if voice in row["voice"]]
    return [(soundfile.read(EVAL / row["file"], dtype="float32")[0], row["text"]) for row in rows]


def gap(kind: str, rng: np.random.Generator) -> np.ndarray:
    """Return what lies between two clips."""
    if kind == "silence":
        return np.zeros(int(rng.uniform(0.5, 1.5) * RATE), np.float32)
    if kind == "pause":
        return rng.normal(0, 1e-4, int(rng.uniform(0.3, 2.0) * RATE)).astype(np.float32)
    if kind == "noise":
        return rng.normal(0, 0.02, int(rng.uniform(1.0, 5.0) * RATE)).astype(np.float32)
    if kind == "music":
        seconds = np.arange(int(rng.uniform(1.0, 5.0) * RATE)) / RATE
        notes = rng.choice([220.0, 262.0, 330.0, 392.0, 440.0], 4)
        plucked = [
            np.sin(2 * np.pi * note * seconds) * np.exp(-2 * ((4 * seconds + n) % 1)) for n, note in enumerate(notes)
        ]
        return (0.05 * np.sum(plucked, axis=0)).astype(np.float32)
    return np.zeros(0, np.float32)


def joined(clips: Sequence[tuple[np.ndarray, str]], seconds: float, kind: str) -> Iterator[tuple[np.ndarray, str]]:
    """Yield clips in shuffled rounds with gaps, and their words, until there is as much audio."""
    rng = np.random.default_rng(0)
    order: list[int] = []
    told = 0
    while told < seconds * RATE:
        order = order or rng.permutation(len(clips)).tolist()
        samples, text = clips[order.pop()]
        block = np.concatenate([samples, gap(kind, rng)])
        told += len(block)
        yield block, text


def write_joined(path: Path, clips: Sequence[tuple[np.ndarray, str]], seconds: float, kind: str) -> list[str]:
    texts = []
    with soundfile.SoundFile(path, "w", RATE, 1, subtype="PCM_16") as file:
        for block, text in joined(clips, seconds, kind):
            file.write(block)
            texts.append(text)
    return texts


def normal(text: str) -> str:
    return " ".join(re.sub(r"[^a-z0-9' ]", " ", text.lower().replace("-", " ")).split())


def error_rate(reference: str, hypothesis: str) -> float:
    return 100 * float(jiwer.wer(normal(reference), normal(hypothesis)))


def wer(minutes: Sequence[float], folder: Path) -> None:
    clips = read_clips()
    path = folder / "long.wav"
    with tdt.load() as asr:
        own = {text: asr.transcribe(samples).text for samples, text in clips}
        say("| audio | gaps | WER of the clips alone | default (60 s) | chunks of one clip (6 s) | x real time |")
        say("|---|---|---|---|---|---|")
        for length in minutes:
            for kind in GAPS if length <= 10 else ("pause", "none"):
                texts = write_joined(path, clips, length * 60, kind)
                reference = " ".join(texts)
                alone = error_rate(reference, " ".join(own[text] for text in texts))
                start = time.perf_counter()
                default = error_rate(reference, asr.transcribe(path).text)
                speed = length * 60 / (time.perf_counter() - start)
                short = error_rate(reference, asr.transcribe(path, chunk_seconds=6).text)
                say(f"| {length:g} min | {kind} | {alone:.1f} | {default:.1f} | {short:.1f} | {speed:.0f} |")


def trimmed(samples: np.ndarray) -> np.ndarray:
    """Drop the quiet ends of a clip."""
    frames = samples[: len(samples) // 160 * 160].reshape(-1, 160)
    loud = np.flatnonzero(np.sqrt((frames**2).mean(axis=1)) > 0.01)
    return samples[loud[0] * 160 : (loud[-1] + 1) * 160]


def word_list(transcript: tdt.Transcript) -> list[tuple[str, float, float]]:
    return [(normal(word.text), word.start, word.end) for word in transcript.words]


def cuts(
    asr: tdt.Recognizer, samples: np.ndarray, chunk: float, context: float | None
) -> tuple[tdt.Transcript, list[float]]:
    """Transcribe, and return where the windows met."""
    from tdt.reader import BlockReader
    from tdt.windows import Cutter

    long_form = asr.long_form(chunk_seconds=chunk, context_seconds=context)
    windows = [piece.window for piece in Cutter(long_form.plan, 1280).pieces(BlockReader(samples))]
    found = asr.transcribe(samples, chunk_seconds=chunk, context_seconds=context)
    return found, [window.first * 0.08 for window in windows[1:]]


def compare(uncut: tdt.Transcript, cut: tdt.Transcript, seams: Sequence[float]) -> str:
    """Compare words by time: what is missing or doubled within a second of a seam, and how far equal words moved."""
    expected, got = word_list(uncut), word_list(cut)

    def alone(words: Sequence[tuple[str, float, float]], others: Sequence[tuple[str, float, float]]) -> list[float]:
        return [s for _, s, e in words if not any(s2 < e + 0.16 and e2 > s - 0.16 for _, s2, e2 in others)]

    def near(times: Sequence[float]) -> int:
        return sum(any(abs(time - seam) <= 1 for seam in seams) for time in times)

    missing, added = alone(expected, got), alone(got, expected)
    doubled = sum(
        a[0] == b[0] and any(abs(b[1] - seam) <= 1 for seam in seams) and _said_once(expected, a[1], b[2])
        for a, b in pairwise(got)
    )
    nearest = [min((abs(s - s2) for w2, s2, _ in expected if w == w2), default=9.0) for w, s, _ in got]
    moved = [distance for distance in nearest if distance < 0.4]
    starts, ends = np.array([w[1] for w in got]), np.array([w[2] for w in got])
    forward = bool(np.all(np.diff(starts) >= 0) and np.all(starts[1:] >= ends[:-1] - 1e-9))
    within = 100 * np.mean(np.array(moved) <= 0.0801) if moved else 100.0
    seam_words = near([w[1] for w in expected])
    return (
        f"{len(seams)} | {near(missing)} of {seam_words} | {near(added)} | {doubled} "
        f"| {len(missing)} of {len(expected)} | {within:.1f} % | {'yes' if forward else 'NO'}"
    )


def _said_once(words: Sequence[tuple[str, float, float]], start: float, end: float) -> bool:
    return sum(s < end and e > start for _, s, e in words) < 2


def seams(contexts: Sequence[float | None], ways: Sequence[bool]) -> None:
    with tdt.load() as asr:
        heads = "speech | cuts | window | context | seams | missing within 1 s of one | added there | doubled there"
        say(f"| {heads} | missing anywhere | equal words within a frame | in order |")
        say("|---|---|---|---|---|---|---|---|---|---|---|")
        kept = limits.LEAST_PAUSE_SECONDS, limits.SMALL_PAUSE_SECONDS
        for name, voice in (("one voice", "hibari"), ("ten voices", "")):
            blocks = [(trimmed(samples), text) for samples, text in read_clips(voice)]
            samples = np.concatenate([block for block, _ in joined(blocks, 190, "none")])[: 190 * RATE]
            uncut = asr.transcribe(samples, chunk_seconds=200)
            for through in ways:
                limits.LEAST_PAUSE_SECONDS, limits.SMALL_PAUSE_SECONDS = (1e3, 1e3) if through else kept
                for chunk in (20.0, 30.0, 60.0):
                    for context in contexts:
                        found, at = cuts(asr, samples, chunk, context)
                        label = "through speech" if through else "as by default"
                        shown = "default" if context is None else f"{context:g} s"
                        say(f"| {name} | {label} | {chunk:g} s | {shown} | {compare(uncut, found, at)} |")
        limits.LEAST_PAUSE_SECONDS, limits.SMALL_PAUSE_SECONDS = kept


def _peak_mib(code: str, *words: str) -> tuple[float, float]:
    """Run Python code in a process of its own; return its peak memory and the seconds it took."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", code, *words])
    _, status, usage = _wait(process)
    if status:
        raise SystemExit("the measured process failed")
    return usage.ru_maxrss / 1024, time.perf_counter() - start


def _wait(process: subprocess.Popen[bytes]) -> tuple[int, int, Any]:
    return os.wait4(process.pid, 0)


def memory(folder: Path) -> None:
    clips = read_clips()
    code = (
        "import sys, tdt\nasr = tdt.load()\n"
        "print(sum(1 for _ in asr.stream(sys.argv[1])) if sys.argv[2] == 'stream'"
        " else len(asr.transcribe(sys.argv[1]).words), file=sys.stderr)"
    )
    say("| audio | call | peak memory | time |")
    say("|---|---|---|---|")
    for minutes in (5, 180):
        path = folder / f"{minutes}.wav"
        write_joined(path, clips, minutes * 60, "pause")
        for call in ("stream", "transcribe"):
            peak, seconds = _peak_mib(code, str(path), call)
            say(f"| {minutes} min | {call} | {peak:.0f} MiB | {seconds:.1f} s |")


def throughput(folder: Path) -> None:
    clips = read_clips()
    path = folder / "long.wav"
    with soundfile.SoundFile(path, "w", RATE, 1, subtype="PCM_16") as file:
        blocks = [block for block, _ in joined(clips, 600, "pause")]
        for block in blocks:
            file.write(block)
    seconds = sum(map(len, blocks)) / RATE
    with tdt.load() as asr:
        asr.transcribe(blocks[:16], batch_size=8)
        ratios = []
        say("| run | long file | same clips, batches of 8 by hand | ratio |")
        say("|---|---|---|---|")
        for run in range(5):
            start = time.perf_counter()
            asr.transcribe(path)
            middle = time.perf_counter()
            for at in range(0, len(blocks), 8):
                features = asr.features(blocks[at : at + 8])
                hypotheses = asr.decode(asr.encode(features))
                for hypothesis, block in zip(hypotheses, blocks[at : at + 8], strict=True):
                    asr.transcript(hypothesis, len(block) / RATE)
            end = time.perf_counter()
            ratios.append((end - middle) / (middle - start))
            ours, hand = seconds / (middle - start), seconds / (end - middle)
            say(f"| {run + 1} | {ours:.0f} x | {hand:.0f} x | {ratios[-1]:.2f} |")
        say(f"median ratio {np.median(ratios):.2f} (above 1: the long file is faster)")


def silence(folder: Path) -> None:
    hour = 3600 * RATE
    second = np.arange(RATE) / RATE
    hum = sum(np.sin(2 * np.pi * 50 * k * second) / k for k in range(1, 6)).astype(np.float32) * np.float32(0.1)
    with tdt.load() as asr:
        asr.transcribe(np.zeros(RATE, np.float32))
        for name, block in (("digital silence", np.zeros(RATE, np.float32)), ("50 Hz hum", hum)):
            path = folder / f"{name}.flac"
            with soundfile.SoundFile(path, "w", RATE, 1, subtype="PCM_16") as file:
                for _ in range(hour // RATE):
                    file.write(block)
            start = time.perf_counter()
            found = asr.transcribe(path)
            say(f"an hour of {name}: {time.perf_counter() - start:.1f} s, {len(found.words)} words")


def resume(folder: Path) -> None:
    path = folder / "hour.wav"
    write_joined(path, read_clips(), 3600, "pause")
    command = [sys.executable, "-m", "tdt", "transcribe", str(path), "-q", "--resume", "--format"]
    for style in ("srt", "json"):
        whole, killed = folder / f"whole-{style}", folder / f"killed-{style}"
        start = time.perf_counter()
        subprocess.run([*command, style, "-o", str(whole)], check=True)
        took = time.perf_counter() - start
        process = subprocess.Popen([*command, style, "-o", str(killed)])
        time.sleep(took / 2)
        process.send_signal(signal.SIGKILL)
        process.wait()
        left = (killed / f"hour.{style}").stat().st_size
        subprocess.run([*command, style, "-o", str(killed)], check=True)
        expected, got = ((f / f"hour.{style}").read_bytes() for f in (whole, killed))
        outcome = "equal" if expected == got else "DIFFERENT"
        say(
            f"{style}: killed after {took / 2:.0f} of {took:.0f} s with {left} of {len(expected)} bytes; then {outcome}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["wer", "seams", "context", "memory", "throughput", "silence", "resume"])
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 10, 60, 180])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        match args.what:
            case "wer":
                wer(args.minutes, folder)
            case "seams":
                seams([None], [True, False])
            case "context":
                seams([0.0, 0.5, 1.0, 2.0, 4.0], [True])
            case "memory":
                memory(folder)
            case "throughput":
                throughput(folder)
            case "silence":
                silence(folder)
            case "resume":
                resume(folder)


if __name__ == "__main__":
    main()
