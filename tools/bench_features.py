#!/usr/bin/env python3
"""Measure log-mel features on the CPU, side by side and interleaved: ours, and other front ends.

    tools/bench_features.py --audio CLIP [--rounds 20]

CLIP is a speech file of any length; it is repeated or cut to 5 s, 30 s and a batch of 8 from 3 to 30 s. Every round
runs all contestants one after the other on the same samples; a ratio is of two times of one round, and its spread is
over the rounds. Needs the dev extra (onnx-asr, kaldi-native-fbank); a contestant that is not installed is left out.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.audio.loading import load_audio
from tdt.encoding.features import FeatureExtractor
from tdt.profiling.environment import describe, environment_block

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Clips = Sequence[np.ndarray]
    Contestant = Callable[[Clips], Any]

N_MELS = 128
OURS = "ours"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", type=Path, required=True, help="a speech file")
    parser.add_argument("--rounds", type=int, default=20, help="runs of every contestant")
    options = parser.parse_args()
    speech = load_audio(options.audio).samples
    print(describe(environment_block()))
    print(f"{N_MELS} mel bands, {options.rounds} interleaved rounds, median (quartiles); ratio: time / time of ours\n")
    cases = {
        "5 s": [fit(speech, 5.0)],
        "30 s": [fit(speech, 30.0)],
        "B = 8, 3 to 30 s": [fit(speech, seconds) for seconds in np.linspace(3, 30, 8)],
    }
    entrants = contestants()
    for name, clips in cases.items():
        report(name, clips, entrants, options.rounds)
    return 0


def fit(speech: np.ndarray, seconds: float) -> np.ndarray:
    return np.resize(speech, int(seconds * 16000)).astype(np.float32)


def report(name: str, clips: Clips, entrants: dict[str, Contestant], rounds: int) -> None:
    for contestant in entrants.values():
        contestant(clips)  # compiles, plans, fills caches
    times: dict[str, list[float]] = {entrant: [] for entrant in entrants}
    for _ in range(rounds):
        for entrant, contestant in entrants.items():
            start = time.perf_counter()
            contestant(clips)
            times[entrant].append(time.perf_counter() - start)
    seconds = sum(len(clip) for clip in clips) / 16000
    print(f"{name} ({seconds:.0f} s of audio)")
    for entrant, taken in times.items():
        low, middle, high = np.percentile(taken, [25, 50, 75])
        least, ratio, most = np.percentile(np.array(taken) / times[OURS], [25, 50, 75])
        spread = f"({low * 1e3:.2f} to {high * 1e3:.2f})"
        print(
            f"  {entrant:34} {middle * 1e3:8.2f} ms {spread:20} {seconds / middle:8.0f} x real time"
            f"   ratio {ratio:6.1f} ({least:.1f} to {most:.1f})"
        )
    print()


def contestants() -> dict[str, Contestant]:
    found: dict[str, Contestant] = {OURS: FeatureExtractor(N_MELS)}
    for name, make in (
        ("onnx-asr, NumPy", onnx_asr_numpy),
        ("onnx-asr, ONNX graph", onnx_asr_graph),
        ("kaldi-native-fbank, frames unread", kaldi),
        ("ours, CUDA kernels", cuda_kernels),
    ):
        try:
            found[name] = make()
        except ImportError as error:
            print(f"{name}: left out ({error})")
    return found


def padded(clips: Clips) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.array([len(clip) for clip in clips], np.int64)
    waveforms = np.zeros((len(clips), int(lengths.max())), np.float32)
    for row, clip in zip(waveforms, clips, strict=True):
        row[: len(clip)] = clip
    return waveforms, lengths


def onnx_asr_numpy() -> Contestant:
    from onnx_asr.preprocessors.numpy_preprocessor import NemoPreprocessorNumpy

    preprocessor = NemoPreprocessorNumpy(f"nemo{N_MELS}")
    return lambda clips: preprocessor(*padded(clips))


def onnx_asr_graph() -> Contestant:
    import onnx_asr.preprocessors
    import onnxruntime

    graph = Path(onnx_asr.preprocessors.__file__).parent / "data" / f"nemo{N_MELS}.onnx"
    if not graph.is_file():
        raise ImportError(f"no {graph.name} in this version of onnx-asr")
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])

    def run(clips: Clips) -> Any:
        waveforms, lengths = padded(clips)
        return session.run(None, {"waveforms": waveforms, "waveforms_lens": lengths})

    return run


def kaldi() -> Contestant:
    """Other numbers than NeMo's, without normalisation, its frames not even fetched: its best case, for speed only."""
    import kaldi_native_fbank as knf

    options = knf.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.snip_edges = False
    options.frame_opts.remove_dc_offset = False
    options.mel_opts.num_bins = N_MELS
    options.mel_opts.low_freq = 0
    options.mel_opts.is_librosa = True  # as sherpa-onnx sets it for NeMo models

    def run(clips: Clips) -> int:
        count = 0
        for clip in clips:
            fbank = knf.OnlineFbank(options)
            fbank.accept_waveform(16000, clip)
            fbank.input_finished()
            count += fbank.num_frames_ready
        return count

    return run


def cuda_kernels() -> Contestant:
    """Take samples from host memory, leave the features on the card, wait for them."""
    cupy, extractor = card(), FeatureExtractor(N_MELS)

    def run(clips: Clips) -> Any:
        frames = extractor(clips, device=0).frames
        cupy.cuda.Device(0).synchronize()
        return frames

    return run


def card() -> Any:
    import cupy

    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise ImportError(str(error)) from error
    if not count:
        raise ImportError("no CUDA device")
    return cupy


if __name__ == "__main__":
    raise SystemExit(main())
