"""Decoding alone: microseconds a token for several batches, on the card and on the host, from the same frames."""

from __future__ import annotations

import argparse
import sys
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from common import emit, eval_samples, median_seconds

import tdt
from tdt.decoding.card_engine import CardEngine
from tdt.decoding.native import NativeEngine
from tdt.model.finding import find_model
from tdt.profiling.breakdown import break_down
from tdt.runtime.backend import Backend
from tdt.timeline import Timeline

if TYPE_CHECKING:
    from tdt.stages import Encoded

FRAME_SECONDS = 0.08


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="model folder (the bundled model by default)")
    parser.add_argument("--batches", default="1,8,32,128")
    parser.add_argument("--peer", action="store_true", help="onnx-asr's own loop on CUDA beside them, one by one")
    options = parser.parse_args()
    from _decode_peers import batches_of  # found once `common` has been imported

    sizes = [int(size) for size in options.batches.split(",")]
    files, spec = find_model(options.model, precision="float32")
    frames = encoded_clips(options.model, max(sizes))
    card = Backend.parse("cuda:0")
    engines: dict[str, Any] = {
        "card float32": CardEngine(files, spec, card),
        "card float16": CardEngine(files, spec, card, weights="float16"),
        "host float32": NativeEngine(files, spec, weights="float32"),
        "host int8": NativeEngine(files, spec, weights="int8"),
    }
    for size in sizes:
        (batch,) = batches_of(frames[:size], size)
        reference = None
        for name, engine in engines.items():
            found = engine.decode(batch)[0]
            tokens = [hypothesis.token_ids.tolist() for hypothesis in found]
            reference = reference or tokens
            same = sum(ours == theirs for ours, theirs in zip(tokens, reference, strict=True))
            measure(name, engine, batch, sum(map(len, tokens)), same)
    if options.peer:
        peer(files, spec, frames[: min(16, len(frames))])
    return 0


def measure(name: str, engine: Any, batch: Encoded, tokens: int, same: int) -> None:
    seconds = median_seconds(lambda: engine.decode(batch), rounds=5 if name.startswith("host") else 15)
    figures: dict[str, Any] = {}
    if name.startswith("card"):
        timeline = Timeline()
        for _ in range(5):
            engine.decode(batch, timeline=timeline)
        figures = {
            f"{stage.name}_ms": round(stage.total_ms / 5, 4)
            for stage in break_down(timeline).stages
            if stage.name in ("h2d", "joint", "d2h")
        }
    audio = float(batch.lengths.sum()) * FRAME_SECONDS
    a_token = round(seconds / max(1, tokens) * 1e6, 3)
    emit(decoder=name, batch=len(batch.lengths), tokens=tokens, ms=round(seconds * 1e3, 4), us_per_token=a_token,
         rtfx=round(audio / seconds), same_as_first=same, **figures)  # fmt: skip


def encoded_clips(model: Any, count: int) -> list[np.ndarray]:
    """Return encoder outputs [T, D] of the evaluation clips, made on the card."""
    samples = eval_samples(count)
    made: list[np.ndarray] = []
    with tdt.load(model, provider="cuda:0", precision="float32") as asr:
        for first, last in pairwise([*range(0, count, 32), count]):
            encoded = asr.encode(asr.features(samples[first:last]))
            host = np.asarray(encoded.frames)
            made += [np.ascontiguousarray(host[row, :length]) for row, length in enumerate(encoded.lengths)]
    return made


def peer(files: Any, spec: Any, clips: list[np.ndarray]) -> None:
    """Measure onnx-asr's loop on the same file with the CUDA provider: no torch, no CuPy."""
    import time

    from _decode_peers import OnnxAsr

    where = "CUDAExecutionProvider"
    loop = OnnxAsr("onnx-asr", files.decoder_joint, files.folder, spec.blank_id + 1, 4, clips, where)
    loop.run(time.perf_counter)
    passes = [loop.run(time.perf_counter) for _ in range(3)]
    seconds = float(np.median([one.seconds for one in passes]))
    emit(decoder="onnx-asr loop, CUDA", batch=1, tokens=passes[0].tokens, ms=round(seconds * 1e3, 2),
         us_per_token=round(seconds / passes[0].tokens * 1e6, 1))  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
