#!/usr/bin/env python3
"""Measure the decode stage alone, side by side with onnx-asr's loop: same encoder outputs, same weights, interleaved.

    tools/bench_decode.py [--model DIR] [--audio DIR] [--encoded CACHE.npz]
    tools/bench_decode.py --beside [--model DIR]                    # batch by batch in turn with the peer
    tools/bench_decode.py --pauses [--model DIR]                    # a team against one thread, after pauses
    tools/bench_decode.py --agreement [--model DIR] [--audio DIR]   # what 8-bit weights change
    tools/bench_decode.py --sherpa DIR [--audio DIR]                # against sherpa-onnx, end to end

DIR for --model is in the onnx-asr layout (tools/make_bench_model writes one in the shapes of parakeet-tdt-0.6b-v3; the
bundled model by default), DIR for --sherpa in the sherpa-onnx layout (tools/make_tiny_model). Real speech goes in, the
evaluation clips by default; its encoder output is computed once and can be kept with --encoded. Needs the dev extra
(onnx-asr, sherpa-onnx).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _agreement import agreement_report
from _decode_beside import after_pauses, beside
from _decode_peers import PEER_THREADS, OnnxAsr, Ours, Pass, batches_of, our_engines, quantised_copy

import tdt
from tdt.audio.loading import load_audio
from tdt.cores import usable_cores
from tdt.kernels.decoder.tables import aligned
from tdt.model.finding import find_model
from tdt.profiling.environment import describe, environment_block

EVAL = Path(__file__).resolve().parents[1] / "tests/data/eval"
CLIPS = 64
READ_FLOATS = 6 << 20  # 24 MB, what a step of the float32 engine reads


def main() -> int:
    options = arguments().parse_args()
    print(describe(environment_block()))
    if options.sherpa:
        end_to_end(options)
    elif options.agreement:
        print(agreement_report(options.model, audio_files(options.audio)))
    else:
        decode_stage(options)
    return 0


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="model folder, onnx-asr layout (bundled model by default)")
    parser.add_argument("--audio", type=Path, default=EVAL, help="folder of speech clips (default: tests/data/eval)")
    parser.add_argument("--encoded", type=Path, help="keep encoder outputs here (.npz)")
    parser.add_argument("--batches", default="1,4,16,64", help="batch sizes")
    parser.add_argument("--rounds", type=int, default=5, help="passes of each contestant, interleaved")
    parser.add_argument(
        "--beside", action="store_true", help="batch by batch in turn with the peer, whose threads rest or spin on"
    )
    parser.add_argument("--pauses", action="store_true", help="a team against one thread, after pauses between calls")
    parser.add_argument("--agreement", action="store_true", help="compare 8-bit with float32 decisions instead")
    parser.add_argument("--sherpa", type=Path, help="sherpa-onnx folder: compare end to end with --model instead")
    return parser


def audio_files(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.iterdir() if path.suffix in {".flac", ".wav"})
    if not found:
        sys.exit(f"{folder} holds no .flac or .wav files")
    return found


def encoded_clips(options: argparse.Namespace) -> tuple[list[Any], list[float]]:
    """Return encoder outputs [T, D] and seconds of the clips, from the cache if there is one."""
    if options.encoded and options.encoded.is_file():
        with np.load(options.encoded) as stored:
            count = len(stored.files) // 2
            return [stored[f"clip{i}"] for i in range(count)], [float(stored[f"seconds{i}"]) for i in range(count)]
    clips, seconds = [], []
    with tdt.load(options.model, decoder="onnx") as asr:
        for path in audio_files(options.audio):
            audio = load_audio(path)
            encoded = asr.encode(asr.features([audio.samples]))
            clips.append(np.ascontiguousarray(encoded.frames[0, : encoded.lengths[0]]))
            seconds.append(audio.seconds)
    if options.encoded:
        named = {f"clip{i}": clip for i, clip in enumerate(clips)}
        np.savez(options.encoded, **named, **{f"seconds{i}": value for i, value in enumerate(seconds)})
    return clips, seconds


def decode_stage(options: argparse.Namespace) -> None:
    files, spec = find_model(options.model, precision="float32")
    clips, seconds = encoded_clips(options)
    repeats = -(-CLIPS // len(clips))
    clips, seconds = (clips * repeats)[:CLIPS], (seconds * repeats)[:CLIPS]
    sizes = [int(part) for part in options.batches.split(",")]
    if options.beside:
        beside(files, spec, clips, sizes, options.rounds)
        return
    if options.pauses:
        after_pauses(files, spec, clips, options.rounds)
        return
    audio = sum(seconds)
    print(f"{spec.name}: {len(clips)} clips, {audio:.0f} s of speech; memory, read: {bandwidths()}")
    with tempfile.TemporaryDirectory() as scratch:
        int8_file = quantised_copy(files.decoder_joint, Path(scratch) / "int8.onnx")
        peers = [
            OnnxAsr(f"onnx-asr {kind}, {n} thread{'s' * (n > 1)}", path, files.folder, spec.blank_id + 1, n, clips)
            for kind, path in (("float32", files.decoder_joint), ("int8 file", int8_file))
            for n in PEER_THREADS
        ]
        engines = our_engines(files, spec, int8_file)
    contestants: list[Any] = list(peers)
    for size in sizes:
        batches = batches_of(clips, size)
        contestants += [Ours(f"{name}, B={size}", engine, batches) for name, engine in engines.items()]
    results = interleaved(contestants, options.rounds)
    table(results, audio, bandwidth_gbs(READ_FLOATS, usable_cores()))


def interleaved(contestants: list[Any], rounds: int) -> dict[str, list[Pass]]:
    """Run every contestant once a round, A B C A B C …; the first round warms up and is not kept."""
    results: dict[str, list[Pass]] = {contestant.name: [] for contestant in contestants}
    for number in range(rounds + 1):
        for contestant in contestants:
            measured = contestant.run(time.perf_counter)
            if number:
                results[contestant.name].append(measured)
        print(f"round {number} of {rounds} done", file=sys.stderr)
    return results


def table(results: dict[str, list[Pass]], audio: float, memory_gbs: float) -> None:
    """Print one line a contestant; ratios are taken round by round, the peer at its best number of threads."""
    best = {}
    for kind in ("float32", "int8 file"):
        named = [name for name in results if name.startswith(f"onnx-asr {kind}")]
        best[kind] = min(named, key=lambda name: np.median([p.seconds for p in results[name]]))
    heads = [
        "us/eval",
        "RTFx",
        "x onnx-asr float32",
        "x onnx-asr int8 file",
        "MB/audio s",
        "GB/s",
        "of what cores read",
    ]
    print(f"| {'decoder':34} | tokens | evaluations | " + " | ".join(heads) + " |")
    print("|" + "---|" * (len(heads) + 3))
    for name, passes in results.items():
        seconds = float(np.median([p.seconds for p in passes]))
        last = passes[-1]
        ratios = []
        for kind in ("float32", "int8 file"):
            each = [theirs.seconds / ours.seconds for ours, theirs in zip(passes, results[best[kind]], strict=True)]
            ratios.append(f"{np.median(each):5.2f} ({min(each):.2f}–{max(each):.2f})")
        evaluations = last.evaluations or max(p.evaluations for group in results.values() for p in group)
        counted = str(last.evaluations) if last.evaluations else "–"
        rate = last.weight_bytes / seconds / 1e9
        moved = [f"{last.weight_bytes / audio / 1e6:.0f}", f"{rate:.0f}", f"{rate / memory_gbs:.0%}"]
        cells = [f"{seconds / evaluations * 1e6:.0f}", f"{audio / seconds:.0f}", *ratios]
        cells += moved if last.weight_bytes else ["–"] * 3
        print(f"| {name:34} | {last.tokens} | {counted} | " + " | ".join(cells) + " |")
    print(
        f"peer at its best: {best['float32']}; {best['int8 file']}. Medians of {len(passes)} rounds (lowest–highest)."
    )


def bandwidth_gbs(floats: int, threads: int) -> float:
    """Return how fast `threads` threads read an array of `floats` elements over and over, each a part of its own."""
    from tdt.kernels.vector.jit import njit_fast

    total = _SUM.setdefault("sum", njit_fast(_sum))
    data = aligned((floats,), np.float32)
    data[:] = 1
    parts = np.array_split(data, threads)
    total(parts[0], 1)
    repeats = max(1, (1 << 26) // floats)  # some 256 MB in one call: starting threads must not count
    times = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(20):
            started = time.perf_counter()
            list(pool.map(total, parts, [repeats] * threads))
            times.append(time.perf_counter() - started)
    return repeats * data.nbytes / float(np.median(times)) / 1e9


_SUM: dict[str, Any] = {}


def _sum(data: Any, repeats: int) -> Any:
    out = np.float32(0)
    for _ in range(repeats):
        for index in range(data.size):
            out += data[index]
    return out


def bandwidths() -> str:
    sizes = {"24 MB": READ_FLOATS, "256 MB": 1 << 26}
    threads = {1: "one thread", usable_cores(): "all cores"}
    return ", ".join(
        f"{bandwidth_gbs(floats, n):.0f} GB/s ({name}, {who})"
        for name, floats in sizes.items()
        for n, who in threads.items()
    )


def end_to_end(options: argparse.Namespace) -> None:
    """Compare whole transcriptions with sherpa-onnx, which has no decode stage of its own."""
    import sherpa_onnx

    peers = {
        n: sherpa_onnx.OfflineRecognizer.from_transducer(
            encoder=str(options.sherpa / "encoder.onnx"),
            decoder=str(options.sherpa / "decoder.onnx"),
            joiner=str(options.sherpa / "joiner.onnx"),
            tokens=str(options.sherpa / "tokens.txt"),
            num_threads=n,
            model_type="nemo_transducer",
            feature_dim=128,
        )
        for n in PEER_THREADS
    }
    clips = [load_audio(path) for path in audio_files(options.audio)]
    audio = sum(clip.seconds for clip in clips)
    times: dict[str, list[float]] = {}
    ours = {n: tdt.load(options.model or options.sherpa, threads=n) for n in PEER_THREADS}
    for number in range(options.rounds + 1):
        for n, peer in peers.items():
            times.setdefault(f"sherpa-onnx, {n} threads, one by one", []).append(_sherpa(peer, clips))
            for size in (1, 16):
                times.setdefault(f"tdt, {n} threads, B={size}", []).append(_transcribe(ours[n], clips, size))
        print(f"round {number} of {options.rounds} done", file=sys.stderr)
    best = min((name for name in times if name.startswith("sherpa")), key=lambda name: np.median(times[name][1:]))
    for name, each in times.items():
        ratios = [theirs / ours for ours, theirs in zip(each[1:], times[best][1:], strict=True)]
        spread = f"{np.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
        print(f"| {name:36} | RTFx {audio / np.median(each[1:]):.0f} | x sherpa-onnx {spread} |")


def _transcribe(asr: Any, clips: list[Any], size: int) -> float:
    started = time.perf_counter()
    for start in range(0, len(clips), size):
        asr.transcribe([clip.samples for clip in clips[start : start + size]], sample_rate=16000)
    return time.perf_counter() - started


def _sherpa(peer: Any, clips: list[Any]) -> float:
    started = time.perf_counter()
    for clip in clips:
        stream = peer.create_stream()
        stream.accept_waveform(16000, clip.samples)
        peer.decode_stream(stream)
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
