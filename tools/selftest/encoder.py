"""The encoder by shape: milliseconds of a shape that recurs, and of the first run after another shape."""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
from common import emit, median_seconds

from tdt.encoding.device_encoder import DeviceEncoder
from tdt.model.finding import find_model
from tdt.runtime.backend import Backend
from tdt.stages import Features

SHAPES = ((1, 2), (1, 10), (1, 30), (8, 10), (32, 10), (32, 20))
FRAMES_A_SECOND = 100


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="model folder (the bundled model by default)")
    parser.add_argument("--provider", action="append", help="cuda:0, cuda:0,tf32, tensorrt:0,fp16 … (repeatable)")
    parser.add_argument("--precision", default="float32")
    options = parser.parse_args()
    files, spec = find_model(options.model, precision=options.precision)
    rng = np.random.default_rng(0)
    for provider in options.provider or ["cuda:0", "cuda:0,tf32"]:
        started = time.perf_counter()
        encoder = DeviceEncoder(files, spec, Backend.parse(provider), decode_on="device")
        emit(provider=provider, precision=options.precision, load_s=round(time.perf_counter() - started, 2))
        started = time.perf_counter()
        emit(batching=encoder.batching(), probe_s=round(time.perf_counter() - started, 2))
        inputs = {
            shape: Features(
                rng.standard_normal((shape[0], spec.n_mels, shape[1] * FRAMES_A_SECOND)).astype(np.float32),
                np.full(shape[0], shape[1] * FRAMES_A_SECOND, np.int64),
            )
            for shape in SHAPES
        }
        measure(encoder, provider, options.precision, inputs)
        encoder.close()
    return 0


def measure(encoder: DeviceEncoder, provider: str, precision: str, inputs: dict[tuple[int, int], Features]) -> None:
    def run(shape: tuple[int, int]) -> float:
        started = time.perf_counter()
        encoder.encode_for_decoding(inputs[shape])
        encoder.queue.wait()
        return time.perf_counter() - started

    first = {shape: run(shape) for shape in inputs}
    back = {shape: run(shape) for shape in inputs}  # seen before, but another shape came between
    for shape in inputs:
        again = median_seconds(lambda shape=shape: run(shape), rounds=9)
        emit(provider=provider, precision=precision, batch=shape[0], seconds=shape[1],
             first_ms=round(first[shape] * 1e3, 2), back_ms=round(back[shape] * 1e3, 2),
             again_ms=round(again * 1e3, 3), rtfx=round(shape[0] * shape[1] / again))  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
