#!/usr/bin/env python
"""Time int8 against float32 and against onnx-asr, all in one run, turn by turn.

    tools/bench_int8.py MODEL MODEL_INT8 --audio clip.wav [--dynamic DIR] [--runs 5]

MODEL is a float32 folder in the onnx-asr layout, MODEL_INT8 what `tdt quantize` made of it. onnx-asr runs the float32
folder and a dynamically quantised one as published ones are made (quantize_dynamic: encoder QUInt8, decoder QInt8); it
is made in DIR where it is not there yet. Needs: pip install onnx-asr. Memory is measured in a process of its own a
model.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

CPU = ["CPUExecutionProvider"]
NAMES = ("tdt float32", "tdt int8", "onnx-asr float32", "onnx-asr int8")


def make_dynamic(model: Path, folder: Path) -> None:
    """Quantise as the published int8 files are."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    folder.mkdir(parents=True, exist_ok=True)
    for stem, kind in (("encoder-model", QuantType.QUInt8), ("decoder_joint-model", QuantType.QInt8)):
        target = folder / f"{stem}.int8.onnx"
        if not target.exists():
            sys.stderr.write(f"making {target} …\n")
            quantize_dynamic(model / f"{stem}.onnx", target, weight_type=kind)
    for name in ("vocab.txt", "config.json"):
        shutil.copyfile(model / name, folder / name)


def load(name: str, paths: dict[str, Path], threads: int):
    """Return a function from samples to text, and its encoder for timing alone."""
    path = paths[name]
    if name.startswith("tdt"):
        import tdt

        recogniser = tdt.load(path, threads=threads)
        return lambda samples: recogniser.transcribe(samples).text
    import onnx_asr
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    kind = "int8" if name.endswith("int8") else None
    model = onnx_asr.load_model("nemo-conformer-tdt", path, quantization=kind, providers=CPU, sess_options=options)
    return model.recognize


def resident_bytes() -> int:
    """Return the memory of this process that is in RAM."""
    fields = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in fields if line.startswith("VmRSS")).split()[1]) * 1024


def memory_of(name: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Load one model in a fresh process; return load time and resident memory before and after the first call."""
    command = [sys.executable, __file__, str(arguments.model), str(arguments.quantised), "--only", name]
    command += [
        "--audio",
        str(arguments.audio),
        "--dynamic",
        str(arguments.dynamic),
        "--threads",
        str(arguments.threads),
    ]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def one(name: str, paths: dict[str, Path], samples, threads: int) -> None:
    for module in ("numpy", "onnxruntime", "numba"):  # not counted as any model's own
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    before, start = resident_bytes(), time.perf_counter()
    run = load(name, paths, threads)
    loaded, seconds = resident_bytes(), time.perf_counter() - start
    run(samples)
    report = {"load_s": seconds, "loaded_bytes": loaded - before, "running_bytes": resident_bytes() - before}
    print(json.dumps(report))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("quantised", type=Path)
    parser.add_argument("--audio", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--dynamic", type=Path, default=Path("dynamic-int8"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=NAMES, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    import numpy as np

    from tdt.audio.loading import load_audio
    from tdt.profiling.environment import describe, environment_block

    samples = load_audio(arguments.audio).samples
    samples = np.tile(samples, int(np.ceil(arguments.seconds * 16000 / len(samples))))[: int(arguments.seconds * 16000)]
    make_dynamic(arguments.model, arguments.dynamic)
    paths = dict(zip(NAMES, (arguments.model, arguments.quantised, arguments.model, arguments.dynamic), strict=True))
    if arguments.only:
        one(arguments.only, paths, samples, arguments.threads)
        return 0
    memory = {name: memory_of(name, arguments) for name in NAMES}
    runs = {name: load(name, paths, arguments.threads) for name in NAMES}
    times: dict[str, list[float]] = {name: [] for name in NAMES}
    for turn in range(arguments.runs + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run(samples)
            if turn:
                times[name].append(time.perf_counter() - start)
    rows = {
        name: {
            "best_s": min(values),
            "median_s": statistics.median(values),
            "x_real_time": arguments.seconds / statistics.median(values),
            **memory[name],
        }
        for name, values in times.items()
    }
    print(f"{'':18}  median s  best s  x real time  load s  loaded GB  running GB")
    for name, row in rows.items():
        print(
            f"{name:18}  {row['median_s']:8.3f}  {row['best_s']:6.3f}  {row['x_real_time']:11.1f}  {row['load_s']:6.2f}"
            f"  {row['loaded_bytes'] / 1e9:9.2f}  {row['running_bytes'] / 1e9:10.2f}"
        )
    ratio = {
        "int8 over float32": ("tdt float32", "tdt int8"),
        "int8 over onnx-asr int8": ("onnx-asr int8", "tdt int8"),
        "float32 over onnx-asr float32": ("onnx-asr float32", "tdt float32"),
    }
    for label, (slow, fast) in ratio.items():
        each = [left / right for left, right in zip(times[slow], times[fast], strict=True)]
        print(f"{label}: {statistics.median(each):.2f}x (turn by turn, {min(each):.2f} to {max(each):.2f})")
    print(f"{arguments.seconds:g} s of audio, {arguments.threads} threads; {describe(environment_block())}")
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"rows": rows, "times": times, "environment": environment_block()}, indent=1)
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
