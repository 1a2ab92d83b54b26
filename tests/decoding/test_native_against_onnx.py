"""The native engine and the ONNX Runtime engine, told apart by nothing: goldens, evaluation clips, both layouts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tdt
from tdt.audio.loading import load_audio
from tdt.decoding.native import NativeEngine
from tdt.model.finding import find_model
from tdt.profiling.stats import agreement

from .test_native_engine import events, padded

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def clips(models: Path, eval_folder: Path) -> tuple[list[np.ndarray], list[list[tuple[int, int, int]]]]:
    """Encoder output of the 42 clips, and what the ONNX Runtime engine makes of it."""
    found, frames = [], []
    with tdt.load(models / "parakeet-tdt-tiny-onnx", decoder="onnx") as asr:
        for path in sorted((eval_folder).glob("*.flac")):
            encoded = asr.encode(asr.features([load_audio(path).samples]))
            found += [events(hypothesis) for hypothesis in asr.decode(encoded)]
            frames.append(np.ascontiguousarray(encoded.frames[0, : encoded.lengths[0]]))
    assert len(frames) == 42
    assert sum(map(len, found)) > 700
    return frames, found


@pytest.mark.slow
@pytest.mark.parametrize("screening", [False, True])
def test_evaluation_clips_decode_alike(clips: Any, model_folder: Path, screening: bool) -> None:
    """Tokens, frames and durations of all clips; float32 in both modes, single and batched, from both layouts."""
    frames, found = clips
    engine = NativeEngine(*find_model(model_folder), screening=screening)
    batch, _ = engine.decode(padded(frames))
    assert [events(hypothesis) for hypothesis in batch] == found
    alone = [engine.decode(padded([clip]))[0][0] for clip in frames]
    assert [events(hypothesis) for hypothesis in alone] == found


@pytest.mark.slow
def test_eight_bit_weights_agree_on_the_evaluation_clips(clips: Any, models: Path) -> None:
    """One scale a row: at least 99 % of the tokens (tools/bench_decode.py --agreement lists every flip)."""
    files, spec = find_model(models / "parakeet-tdt-tiny-onnx")
    hypotheses, _ = NativeEngine(files, spec, weights="int8").decode(padded(clips[0]))
    exact = [[token for token, _, _ in found] for found in clips[1]]
    assert agreement(exact, [hypothesis.token_ids.tolist() for hypothesis in hypotheses]) >= 0.99
