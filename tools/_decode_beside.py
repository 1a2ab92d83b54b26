"""The decoder in the process of another library, and after pauses: tools/bench_decode.py --beside, --pauses."""

from __future__ import annotations

import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from _decode_peers import PEER_THREADS, OnnxAsr, batches_of, our_engines, quantised_copy

from tdt.decoding.native import NativeEngine

CLIPS = 32
# What the peer's threads do after a run: as its sessions are made by default they spin on, for the next one.
WAYS = {"put to rest": False, "spinning, as by default": True}
PAUSES = (0.0, 0.02, 0.1)  # seconds
ENGINES = ("native float32", "native int8")


def beside(files: Any, spec: Any, clips: list[Any], sizes: list[int], rounds: int) -> None:
    """Decode batch after batch, the peer's loop and then ours, and print how many times faster ours is.

    Parameters
    ----------
    files, spec : ModelFiles, ModelSpec
    clips : list of ndarray [shape=(T, D)], float32
    sizes : list of int
        Utterances to a batch of ours; the peer decodes them one by one.
    rounds : int
    """
    clips = clips[:CLIPS]
    with tempfile.TemporaryDirectory() as scratch:
        engines = our_engines(files, spec, quantised_copy(files.decoder_joint, Path(scratch) / "int8.onnx"))
    peers = {
        (way, threads): OnnxAsr(
            way, files.decoder_joint, files.folder, spec.blank_id + 1, threads, [], spinning=spinning
        )
        for (way, spinning), threads in product(WAYS.items(), PEER_THREADS)
    }
    times: dict[tuple[Any, ...], list[tuple[float, float]]] = {}
    for number in range(rounds + 1):
        for size, (key, peer), name in product(sizes, peers.items(), ENGINES):
            measured = _in_turn(peer, engines[name], batches_of(clips, size))
            if number:
                times.setdefault((*key, name, size), []).append(measured)
        print(f"round {number} of {rounds} done", file=sys.stderr)
    _print_table(times, sizes)


def _in_turn(peer: OnnxAsr, engine: Any, batches: list[Any]) -> tuple[float, float]:
    """Return the seconds of the peer and of ours over all batches, which they decode in turn."""
    theirs = ours = 0.0
    for batch in batches:
        peer.clips = [frames[:length] for frames, length in zip(batch.frames, batch.lengths, strict=True)]
        theirs += peer.run(time.perf_counter).seconds
        started = time.perf_counter()
        engine.decode(batch)
        ours += time.perf_counter() - started
    return theirs, ours


def after_pauses(files: Any, spec: Any, clips: list[Any], rounds: int) -> None:
    """Decode clip after clip, with pauses between, by a team and by one thread in turn; print milliseconds a clip."""
    batches = batches_of(clips[:CLIPS], 1)
    print("| native engine | pause before a call | one thread, ms a clip | a team | of one thread |")
    print("|---|---|---|---|---|")
    for weights in ("float32", "int8"):
        team, single = (NativeEngine(files, spec, weights=weights, threads=threads) for threads in (None, 1))
        for pause in PAUSES:
            taken: dict[Any, list[float]] = {team: [], single: []}
            for number, batch, engine in product(range(rounds + 1), batches, (team, single)):
                time.sleep(pause)
                started = time.perf_counter()
                engine.decode(batch)
                if number:
                    taken[engine].append(1000 * (time.perf_counter() - started))
            ours, alone = (float(np.mean(taken[engine])) for engine in (team, single))
            print(f"| {weights} | {1000 * pause:.0f} ms | {alone:.2f} | {ours:.2f} | {ours / alone:.2f} |", flush=True)


def _print_table(times: dict[tuple[Any, ...], list[tuple[float, float]]], sizes: list[int]) -> None:
    """Print one line an engine and batch size; the peer is at its better number of threads."""
    print("| native engine | " + " | ".join(f"peer's threads {way}" for way in WAYS) + " |")
    print("|---|" + "---|" * len(WAYS))
    for name, size in product(ENGINES, sizes):
        cells = []
        for way in WAYS:
            found = {threads: times[(way, threads, name, size)] for threads in PEER_THREADS}
            best = min(found, key=lambda threads: float(np.median([theirs for theirs, _ in found[threads]])))
            ratios = [theirs / ours for theirs, ours in found[best]]
            cells.append(f"{np.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})")
        print(f"| {name}, B={size} | " + " | ".join(cells) + " |")
    print(f"times as fast as onnx-asr float32 at its better of {PEER_THREADS} threads; medians of the rounds")
