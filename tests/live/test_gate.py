"""The gate: silence costs no run, nothing else changes where the detector is right, and no cut does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

import tdt
from tdt.live.gate import MARGIN_SAMPLES, SpeechGate
from tdt.live.lockstep import LiveBatch
from tdt.live.stream import LiveStream
from tdt.live.windowing import Window
from tdt.longform.vad import Silero

from .feeding import FRAME, ONE, TWO, Watcher, audio, feed, scripted, stages_of
from .test_stream import script, summary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tdt.live.stream import Setup


class Loud:
    """Takes for speech what a script says anything in: its blanks are near zero."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def run(self, feeds: Mapping[str, Any]) -> list[Any]:
        frames = feeds["input"][:, 64:]
        self.calls.append(len(frames))
        relative = np.abs(frames).max(axis=1) / max(np.abs(frames).max(), 1e-9)
        return [(relative > 0.1).astype(np.float32), feeds["h"] + 1, feeds["c"] + 1]


def gated(*contexts: int, **options: Any) -> Setup:
    return replace(scripted(*contexts, **options), gate=lambda: SpeechGate(Silero(Loud())))


def talk() -> np.ndarray:
    """Two words a quarter of a minute apart, digital silence between."""
    samples = audio(script((ONE, 1), 180, (TWO, 1), 60))
    samples[samples < 0] = 0
    return samples


def test_silence_costs_no_run_and_changes_nothing() -> None:
    for restart in (None, 25):
        plain, gate = scripted(10, 5, 5, restart=restart), gated(10, 5, 5, restart=restart)
        stream, watcher = feed(plain, talk())
        passed, gated_watcher = feed(gate, talk())
        assert summary(gated_watcher) == summary(watcher)
        assert passed.hypothesis.logprobs.tolist() == stream.hypothesis.logprobs.tolist()
        assert watcher.finals == ["one", "two"]
        assert len(stages_of(plain).runs) == 48
        # Those with a word in chunk or right context, or in the second before.
        assert len(stages_of(gate).runs) == 7


@pytest.mark.parametrize("block", [160, 999, 16000, 10**7])
def test_no_cut_changes_what_is_passed_over(block: int) -> None:
    setup = gated(10, 5, 5)
    samples = talk()
    feed(setup, samples, list(range(block, len(samples), block)))
    whole = gated(10, 5, 5)
    feed(whole, samples)
    assert stages_of(setup).runs == stages_of(whole).runs


def test_the_detector_hears_each_sample_once() -> None:
    detector = Loud()
    gate = SpeechGate(Silero(detector))
    samples = np.ones(20 * FRAME, np.float32)
    for start in range(0, 18 * FRAME, 3 * FRAME):
        left = min(start, 4 * FRAME)
        end = start + 5 * FRAME
        for _ in range(2):  # a window that is asked about again, after an interrupt
            gate.is_silent(Window(samples[start - left : end], left, 3 * FRAME, start, False))
    gate.is_silent(Window(samples[14 * FRAME :], 4 * FRAME, 2 * FRAME, 18 * FRAME, True))
    assert sum(detector.calls) == 20 * FRAME // 512


def test_what_was_said_shortly_before_is_heard_to_its_end() -> None:
    gate = SpeechGate(Silero(Loud()))
    samples = np.zeros(4 * 16000, np.float32)
    samples[:512] = 0.5
    assert not gate.is_silent(Window(samples[:8000], 0, 8000, 0, False))
    assert not gate.is_silent(Window(samples[8000:16000], 0, 8000, 8000, False))
    assert MARGIN_SAMPLES == 16000
    assert gate.is_silent(Window(samples[16512:24000], 0, 7000, 16512, False))


def test_a_stream_of_a_batch_passes_alone() -> None:
    setup = gated(10, 5, 5)
    batch = LiveBatch(setup, 2)
    speech = audio(script(*[(ONE, 1), 3] * 60))
    batch.push([talk(), speech[: len(talk())]])
    runs = [len(run) for run in stages_of(setup).runs]
    assert (runs.count(2) > 3, runs.count(1) > 30) == (True, True)
    assert batch.streams[0].hypothesis.token_ids.tolist() == [ONE, TWO]


def test_a_detector_that_fails_fails_its_stream_alone() -> None:
    class Broken:
        def run(self, feeds: Any) -> list[Any]:
            raise KeyError("detector")

    setup = replace(scripted(4, 3, 2), gate=lambda: SpeechGate(Silero(Broken())))
    with pytest.raises(tdt.TdtError, match="detector"):
        LiveStream(setup).push(np.ones(6 * FRAME, np.float32))


def test_the_bundled_detector_saves_runs_and_loses_no_word() -> None:
    path = Path(tdt.__file__).parent / "models/recordings/15_hello_world.flac"
    hello = soundfile.read(path, dtype="float32")[0]
    samples = np.concatenate([hello, np.zeros(6 * 16000, np.float32), hello * np.float32(0.05)])
    found = []
    with tdt.load() as asr:
        for gate in (False, True):
            timeline, watcher = tdt.Timeline(), Watcher()
            with asr.live(latency=2, gate=gate, timeline=timeline) as live:
                watcher.see(live.push(samples) + live.finish())
            found.append((live.transcript, watcher.finals, sum(span.name == "encoder" for span in timeline.spans)))
    (plain, said, runs), (passed, told, fewer) = found
    assert (passed, told) == (plain, said)
    assert plain.text.count("Testing one, two, three.") == 2
    assert fewer <= runs - 4
