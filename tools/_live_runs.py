"""What live recognition costs: time a chunk, memory over hours, many streams in lockstep."""

from __future__ import annotations

import time
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from _long_audio import RATE, joined, read_clips, say

import tdt
from tdt.live.contexts import PRESETS
from tdt.profiling.memory import rss_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BLOCK = RATE // 10
ROUNDS = 5


def _speech(seconds: float, seed: int = 0) -> np.ndarray:
    blocks = [block for block, _ in joined(read_clips(), seconds, "pause", seed)]
    return np.concatenate(blocks)[: round(seconds * RATE)]


def _blocks(samples: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(samples), BLOCK):
        yield samples[start : start + BLOCK]


def _chunk_times(stream: tdt.live.LiveStream, samples: np.ndarray) -> list[float]:
    """Return what each step takes once the window is full."""
    taken = []
    full = stream.contexts.frames * stream.contexts.frame_samples / RATE
    for block in _blocks(samples):
        before, begun = stream.decoded_seconds, time.perf_counter()
        stream.push(block)
        if stream.decoded_seconds > before and stream.audio_seconds > full:
            taken.append(time.perf_counter() - begun)
    return taken


def speed(models: Sequence[str], precisions: Sequence[str], provider: str, seconds: float) -> None:
    if len(models) != len(precisions):
        models = [models[0]] * len(precisions)
    samples = _speech(seconds)
    say("| model | left-chunk-right | latency by design | a chunk computes, p50 | p95 | x real time |")
    say("|---|---|--:|--:|--:|--:|")
    for (model, precision), latency in product(zip(models, precisions, strict=True), PRESETS):
        with tdt.load(model or None, precision=precision, provider=provider) as asr:
            with asr.live(latency=latency) as warm:
                warm.push(samples[: 16 * RATE])
            with asr.live(latency=latency) as stream:
                taken = _chunk_times(stream, samples)
        left, chunk, right = PRESETS[latency]
        half, most = np.percentile(taken, [50, 95])
        name = f"{model or 'bundled'} {precision}"
        say(
            f"| {name} | {left:g}-{chunk:g}-{right:g} | {chunk + right:.2f} s | {1000 * half:.0f} ms "
            f"| {1000 * most:.0f} ms | {chunk * len(taken) / sum(taken):.2f} |"
        )


def memory(minutes: float) -> None:
    say("| audio | resident memory | of that after 5 min | words |")
    say("|---|--:|--:|--:|")
    clips, first = read_clips(), 0
    with tdt.load() as asr, asr.live() as stream:
        marks = [5.0, 30.0, 60.0, minutes]
        finals = 0
        for block, _ in joined(clips, minutes * 60, "pause"):
            finals += sum(len(update.words) for update in stream.push(block) if update.kind == "final")
            if marks and stream.audio_seconds >= marks[0] * 60:
                used = rss_bytes()
                first = first or used
                say(f"| {marks.pop(0):g} min | {used >> 20} MiB | {used / first:.3f} | {finals} |")


def many(count: int) -> None:
    streams = [_speech(20 + index % 7, index) for index in range(count)]
    total = sum(map(len, streams)) / RATE
    ratios = []
    with tdt.load() as asr:
        for number in range(ROUNDS + 1):
            begun = time.perf_counter()
            alone = []
            for samples in streams:
                with asr.live() as stream:
                    stream.push(samples)
                    stream.finish()
                    alone.append(stream.hypothesis)
            between = time.perf_counter()
            with asr.live_batch(count) as batch:
                for start in range(0, max(map(len, streams)), 2 * RATE):
                    batch.push(
                        [samples[start : start + 2 * RATE] if len(samples) > start else None for samples in streams]
                    )
                batch.finish()
                together = [stream.hypothesis for stream in batch.streams]
            ended = time.perf_counter()
            assert all(np.array_equal(a.token_ids, b.token_ids) for a, b in zip(alone, together, strict=True))
            if number:  # the first warms up
                ratios.append((between - begun) / (ended - between))
                say(f"alone {total / (between - begun):.0f}, together {total / (ended - between):.0f} x real time")
    say(f"{count} streams together: {np.median(ratios):.2f} times the throughput (median of {ROUNDS}), tokens equal")
