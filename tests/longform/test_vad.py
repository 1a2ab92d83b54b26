"""The speech detector: right on speech, silent on silence, the same however the stream is cut."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

from tdt.longform import vad
from tdt.longform.vad import Activity, SpeechDetector

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def detect(samples: np.ndarray, cut: int | None = None, session: vad.Runner | None = None) -> Activity:
    detector = SpeechDetector(session)
    cut = cut or len(samples)
    parts = [part for i in range(0, len(samples), cut) for part in detector.feed(samples[i : i + cut])]
    parts.append(detector.flush())
    return Activity(np.concatenate([p.speech for p in parts]), np.concatenate([p.level_db for p in parts]))


@pytest.fixture(scope="module")
def speech(golden_folder: Path) -> np.ndarray:
    return soundfile.read(golden_folder / "11_long_35s.flac", dtype="float32")[0]


def test_the_graph_is_still_what_silero_published() -> None:
    """The bundled file is rewritten (tools/make_vad.py); these numbers are the published file's own."""
    samples = soundfile.read(vad.MODEL_PATH.parents[1] / "recordings/03_flite-rms.flac", dtype="float32")[0]
    frames = samples[: len(samples) // 512 * 512].reshape(-1, 512)
    windows = np.zeros((len(frames), 576), np.float32)
    windows[:, 64:], windows[1:, :64] = frames, frames[:-1, -64:]
    zero = np.zeros(vad.STATE_SHAPE, np.float32)
    speech, hidden, cell = vad.shared_session().run({"input": windows, "h": zero, "c": zero})
    # Four digits are written down; the sums' other order changes the sixth.
    first = [0.0059, 0.006, 0.0384, 0.0379, 0.5281, 0.9005, 0.9832, 0.9897, 0.9989, 0.9993]
    last = [0.175, 0.0766, 0.053, 0.0316, 0.0241, 0.0194]
    np.testing.assert_allclose(speech[4:14], first, atol=1e-4)
    np.testing.assert_allclose(speech[-6:], last, atol=1e-4)
    assert [np.abs(state).sum() for state in (hidden, cell)] == pytest.approx([27.633, 153.999], rel=1e-4)


class NeverRun:
    def run(self, feeds: Mapping[str, Any]) -> list[Any]:
        raise AssertionError(f"the detector was asked about silence: {list(feeds)}")


def test_joined_clips_show_speech_and_pauses(speech: np.ndarray) -> None:
    found = detect(speech).speech
    assert len(found) == -(-len(speech) // 512)
    assert 0.5 < np.mean(found > 0.5) < 0.95
    # The clips of the golden are joined with pauses: at least three stretches of 0.3 s without speech.
    quiet = "".join("." if p < 0.3 else "#" for p in found)
    assert len([run for run in quiet.strip(".").split("#") if len(run) >= 10]) >= 3


@pytest.mark.parametrize("cut", [160, 511, 4096, 200_000])
def test_blocks_do_not_matter(cut: int, speech: np.ndarray) -> None:
    np.testing.assert_array_equal(detect(speech, cut).speech, detect(speech).speech)


def test_equals_the_detector_run_frame_by_frame(speech: np.ndarray) -> None:
    """The sequence graph against itself, one frame a call, as the detector's own project runs it."""
    samples = speech[512 * 20 : 512 * 70]  # loud from its first frame to its last
    session = vad.shared_session()
    state = [np.zeros((1, 1, 128), np.float32)] * 2
    expected = []
    padded = np.concatenate([np.zeros(64, np.float32), samples])
    gain = SpeechDetector()._gain(vad.levels(samples.reshape(-1, 512)))
    assert gain == 1
    for i in range(50):
        window = padded[None, i * 512 : i * 512 + 576] * gain
        probability, *state = session.run({"input": window, "h": state[0], "c": state[1]})
        expected.append(probability[0])
    np.testing.assert_allclose(detect(samples).speech, expected, atol=1e-4)  # sums in another order


def test_quiet_recordings_are_heard(speech: np.ndarray) -> None:
    loud, soft = detect(speech).speech > 0.5, detect(speech * np.float32(0.005)).speech > 0.5
    assert np.mean(loud == soft) > 0.9


def test_silence_is_decided_by_the_gate_alone() -> None:
    assert not detect(np.zeros(600_000, np.float32), session=NeverRun()).speech.any()
    dither = np.random.default_rng(0).integers(-2, 3, 600_000).astype(np.float32) / 32768
    assert not detect(dither, session=NeverRun()).speech.any()


def test_hum_and_noise_are_not_speech(rng: np.random.Generator) -> None:
    seconds = np.arange(16000 * 20) / 16000
    hum = sum(np.sin(2 * np.pi * 50 * k * seconds) / k for k in range(1, 6)).astype(np.float32) * np.float32(0.1)
    noise = rng.normal(0, 0.03, len(seconds)).astype(np.float32)
    for name, samples in (("hum", hum), ("noise", noise)):
        assert np.mean(detect(samples).speech > 0.3) < 0.02, name


def test_a_short_word_in_long_silence_is_found(speech: np.ndarray) -> None:
    samples = np.zeros(16000 * 30, np.float32)
    word = speech[8 * 512 : 60 * 512]
    samples[200_000 : 200_000 + len(word)] = word
    found = np.flatnonzero(detect(samples).speech > 0.5)
    assert len(found) > 20
    assert abs(found[0] - 200_000 // 512) <= 8  # a quarter of a second
    assert found[-1] <= (200_000 + len(word)) // 512 + 3


def steady_hum(seconds: float) -> np.ndarray:
    at = np.arange(int(16000 * seconds)) / 16000
    return (0.1 * sum(np.sin(2 * np.pi * 50 * k * at) / k for k in range(1, 6))).astype(np.float32)


def test_steady_hum_is_decided_without_the_detector() -> None:
    assert not detect(steady_hum(24), session=NeverRun()).speech.any()


def test_speech_under_hum_is_no_steady_hum(speech: np.ndarray) -> None:
    """Hum 20 dB above the speech: the level of the samples hardly moves, that of their differences does."""
    for start in range(4):
        samples = speech[start * 128_000 : (start + 1) * 128_000]
        frames = (samples * np.float32(0.05) + steady_hum(8)).reshape(-1, 512)
        assert not vad.is_steady(frames)
        assert vad.is_steady(steady_hum(8).reshape(-1, 512))


def test_an_hour_of_noise_would_take_seconds(rng: np.random.Generator) -> None:
    """Two minutes of noise, where the detector is asked about every frame, stay below their share of 10 s."""
    noise = rng.normal(0, 0.02, 16000 * 120).astype(np.float32)
    detect(noise[:16000])
    best = np.inf
    for _ in range(3):  # another process may hold the core
        start = time.perf_counter()
        detect(noise)
        best = min(best, time.perf_counter() - start)
    assert best * 30 < 10


def test_nothing_in_nothing_out() -> None:
    assert len(detect(np.zeros(0, np.float32), cut=1).speech) == 0
