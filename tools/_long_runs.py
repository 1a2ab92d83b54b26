"""What a long run costs, and what a killed one leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
from _long_audio import RATE, joined, read_clips, say, write_joined

import tdt

if TYPE_CHECKING:
    from pathlib import Path


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
        "found = asr.stream(sys.argv[1]) if sys.argv[2] == 'stream' else asr.transcribe(sys.argv[1]).words\n"
        "assert sum(1 for _ in found) > 10"
    )
    say("| audio | call | peak memory | time |")
    say("|---|---|---|---|")
    for minutes in (5, 180):
        path = folder / f"{minutes}.wav"
        write_joined(path, clips, minutes * 60, "pause")
        for call in ("stream", "transcribe"):
            peak, seconds = _peak_mib(code, str(path), call)
            say(f"| {minutes} min | {call} | {peak:.0f} MiB | {seconds:.1f} s |")


_ACTIVATIONS = """
import sys, numpy as np, tdt
from tdt.longform.limits import window_bytes
from tdt.profiling.memory import peak_rss_bytes, reset_peak, rss_bytes
with tdt.load(sys.argv[1] or None) as asr:
    seconds, batch = float(sys.argv[2]), int(sys.argv[3])
    clips = [np.random.default_rng(0).normal(0, 0.05, int(seconds * 16000)).astype(np.float32)] * batch
    asr.encode(asr.features([clips[0][:16000]]))
    before = rss_bytes()
    assert reset_peak(), "this system keeps no peak that can be started anew"
    asr.encode(asr.features(clips))
    print(peak_rss_bytes() - before, window_bytes(asr.spec, seconds, batch))
"""


def activations(model: str) -> None:
    """Compare the bound behind ``--max-memory`` with what encoding takes, each case in a process of its own."""
    say("| windows | measured | bound | bound / measured |")
    say("|---|---|---|---|")
    for batch, seconds in ((1, 30), (1, 60), (4, 60), (8, 5), (8, 10), (8, 30), (1, 120), (1, 200)):
        command = [sys.executable, "-c", _ACTIVATIONS, model, str(seconds), str(batch)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        measured, bound = map(int, output.split())
        say(
            f"| {batch} × {seconds} s | {measured / 2**20:.0f} MiB | {bound / 2**20:.0f} MiB | {bound / measured:.2f} |"
        )


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
