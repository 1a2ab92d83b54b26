"""End to end: audio arrays in, transcripts out; real-time factor at B = 1 and B = 32, and how busy the card was."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import numpy as np
from common import emit, eval_samples

import tdt
from tdt.profiling.breakdown import break_down
from tdt.profiling.gpu import open_sampler
from tdt.timeline import Timeline


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="model folder (the bundled model by default)")
    parser.add_argument("--precision")
    parser.add_argument("--provider", default="cuda:0")
    parser.add_argument("--decoder", action="append", help="auto, native (repeatable; both by default)")
    parser.add_argument("--peer", action="store_true", help="onnx-asr on CUDA beside it")
    options = parser.parse_args()
    clips = eval_samples(128)
    for decoder in options.decoder or ("auto", "native"):
        for features_on in ("host", "device"):
            with tdt.load(options.model, provider=options.provider, precision=options.precision, decoder=decoder,
                          features_on=features_on) as asr:  # fmt: skip
                for batch in (1, 32):
                    some = clips[:42] if batch == 1 else clips
                    run(asr, some, batch, decoder=decoder, features_on=features_on)
    if options.peer:
        peer(options.model, clips[:42])
    return 0


def run(asr: tdt.Recognizer, clips: list[np.ndarray], batch: int, **labels: Any) -> None:
    """Measure one setting: a pass to warm up, then three."""

    def once(timeline: Any = False) -> float:
        started = time.perf_counter()
        if batch == 1:
            for clip in clips:
                asr.transcribe(clip, timeline=timeline)
        else:
            asr.transcribe(clips, batch_size=batch, timeline=timeline)
        return time.perf_counter() - started

    once()
    sampler, _ = open_sampler()
    if sampler is None:
        times = [once() for _ in range(3)]
        use = None
    else:
        with sampler:
            times = [once() for _ in range(3)]
        use = sampler.use()
    timeline = Timeline()
    once(timeline)
    stages = {f"{row.name}_ms": round(row.total_ms, 1) for row in break_down(timeline).stages}
    audio = sum(map(len, clips)) / 16000
    emit(batch=batch, **labels, audio_s=round(audio, 1), rtfx=round(audio / float(np.median(times)), 1),
         ms_per_clip=round(float(np.median(times)) / len(clips) * 1e3, 3),
         sm_percent=None if use is None else use.sm_percent, sm_clock_mhz=None if use is None else use.sm_clock_mhz,
         **stages)  # fmt: skip


def peer(model: Any, clips: list[np.ndarray]) -> None:
    """Measure onnx-asr with the CUDA provider, one clip after the other."""
    import onnx_asr

    from tdt.model.finding import find_model

    folder = find_model(model)[0].folder
    recognizer = onnx_asr.load_model("nemo-conformer-tdt", str(folder), providers=["CUDAExecutionProvider"])
    times = []
    for _ in range(3):
        started = time.perf_counter()
        for clip in clips:
            recognizer.recognize(clip)
        times.append(time.perf_counter() - started)
    audio = sum(map(len, clips)) / 16000
    emit(peer="onnx-asr, CUDA", batch=1, rtfx=round(audio / min(times[1:]), 1),
         ms_per_clip=round(min(times[1:]) / len(clips) * 1e3, 2))  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
