"""Long audio whose encoder gives projected frames, as on a card: they are not projected again; the text is the same."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

import tdt
from tdt.stages import Encoded
from tdt.surgery import lift
from tdt.timeline import NULL

if TYPE_CHECKING:
    from pathlib import Path

    from tdt.spec import ModelFiles, ModelSpec
    from tdt.timeline import Recorder


class Projecting:
    """An encoder that gives its frames as the joint takes them, and nothing else."""

    def __init__(self, encoder: Any, files: ModelFiles, spec: ModelSpec) -> None:
        self._encoder, self._projection = encoder, lift(files, spec).encoder
        self.wanted_on_host: list[bool] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def encode_for_decoding(self, features: Any, timeline: Recorder = NULL, *, on_host: bool = False) -> Encoded:
        self.wanted_on_host.append(on_host)
        encoded = self._encoder.encode_for_decoding(features, timeline)
        projected = encoded.frames @ self._projection.matrix.values.T + self._projection.bias
        return Encoded(None, encoded.lengths, projected)  # type: ignore[arg-type]


@pytest.mark.parametrize("decoder", ["native", "onnx"])
def test_projected_frames_are_carried_through(decoder: Any, golden_folder: Path) -> None:
    parts = [
        soundfile.read(golden_folder / f"{name}.flac", dtype="float32")[0]
        for name in ("15_hello_world", "06_digits_theo")
    ]
    talk = np.concatenate([*parts, np.zeros(16_000, np.float32), *parts])
    with tdt.load(decoder=decoder) as asr:
        expected = asr.transcribe(talk, chunk_seconds=6)
        encoder = Projecting(asr._stages.encoder, asr.files, asr.spec)
        asr._stages = replace(asr._stages, encoder=encoder)
        found = asr.transcribe(talk, chunk_seconds=6)
    assert len(encoder.wanted_on_host) >= 2
    assert all(encoder.wanted_on_host)
    assert found.text == expected.text
    assert len(found.text.split()) > 20
    for ours, theirs in zip(found.words, expected.words, strict=True):
        assert (ours.text, ours.start, ours.end) == (theirs.text, theirs.start, theirs.end)
        assert ours.confidence == pytest.approx(theirs.confidence, abs=1e-4)
