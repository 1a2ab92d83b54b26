"""Hum, offset and scale: what drowns the speech for the detector is taken out of its view, and of nothing else's."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

import tdt
from tdt.longform import hum, vad
from tdt.longform.hum import HumRemover
from tdt.longform.vad import SpeechDetector

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORDINGS = Path(tdt.__file__).parent / "models/recordings"
CLIPS = ("03_flite-rms", "06_digits_theo", "15_hello_world")
TOO_LOUD = 10 ** (35 / 20)


@pytest.fixture(scope="module")
def asr() -> Iterator[tdt.Recognizer]:
    with tdt.load() as recognizer:
        yield recognizer


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    return [soundfile.read(RECORDINGS / f"{name}.flac", dtype="float32")[0] for name in CLIPS] * 7


@pytest.fixture(scope="module")
def talk(clips: list[np.ndarray], rng_room: np.random.Generator) -> np.ndarray:
    """103 s: the bundled recordings seven times, with the noise of a room between."""
    return np.concatenate([part for clip in clips for part in (clip, rng_room.normal(0, 1e-4, 11_200))], dtype="f4")


@pytest.fixture(scope="module")
def rng_room() -> np.random.Generator:
    return np.random.default_rng(0)


def tones(hertz: float, strengths: list[float], samples: int) -> np.ndarray:
    seconds = np.arange(samples) / 16000
    return sum(s * np.sin(2 * np.pi * hertz * k * seconds + k) for k, s in enumerate(strengths, 1))  # type: ignore[return-value]


def disturbance(kind: str, samples: int) -> np.ndarray:
    """Return something loud [shape=(n,)] with a root mean square of one."""
    seconds = np.arange(samples) / 16000
    made = {
        "50 Hz": tones(50, [1], samples),
        "60 Hz": tones(60, [1], samples),
        "49.93 Hz and its third": tones(49.93, [1, 0, 0.1], samples),
        "seven harmonics": tones(50, [1 / k**2 for k in range(1, 8)], samples),
        "rectified": np.abs(np.sin(2 * np.pi * 50 * seconds)),
        "square": np.sign(np.sin(2 * np.pi * 50 * seconds + 0.1)),
        "400 Hz": tones(400, [1], samples),
        "offset": np.ones(samples),
        "negative offset": -np.ones(samples),
        "drift": np.sin(2 * np.pi * 0.3 * seconds),
    }[kind]
    return made / np.sqrt(np.mean(made**2))


KINDS = ["50 Hz", "60 Hz", "49.93 Hz and its third", "seven harmonics", "rectified", "square", "400 Hz",
         "offset", "negative offset", "drift"]  # fmt: skip


def words(transcript: tdt.Transcript) -> list[str]:
    return "".join(c for c in transcript.text.lower() if c.isalnum() or c == " ").split()


def lost(expected: list[str], found: list[str]) -> int:
    """Return the words of a text that another one lacks, in order."""
    row = [0] * (len(found) + 1)
    for word in expected:  # the longest common subsequence
        before = row
        row = [0]
        for (diagonal, above), other in zip(pairwise(before), found, strict=True):
            row.append(diagonal + 1 if word == other else max(above, row[-1]))
    return len(expected) - row[-1]


def heard(samples: np.ndarray) -> np.ndarray:
    detector = SpeechDetector()
    return np.concatenate([part.speech for part in (*detector.feed(samples), detector.flush())]) > 0.5


def added(talk: np.ndarray, kind: str, db: float = 35.0) -> np.ndarray:
    loud = 10 ** (db / 20) * np.sqrt(np.mean(talk**2))
    samples = talk + loud * disturbance(kind, len(talk))
    return (samples * min(1, 0.9 / np.abs(samples).max())).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("db", [10.0, 20.0, 35.0])
def test_speech_and_pauses_are_found_below_what_is_always_there(kind: str, db: float, talk: np.ndarray) -> None:
    assert np.mean(heard(added(talk, kind, db)) == heard(talk)) > 0.94


@pytest.mark.parametrize("kind", ["50 Hz", "offset"])
def test_a_long_recording_loses_no_more_words_than_its_clips(
    kind: str, asr: tdt.Recognizer, clips: list[np.ndarray], talk: np.ndarray
) -> None:
    samples = added(talk, kind)
    at, expected = 0, []
    for clip in clips:
        expected += words(asr.transcribe(samples[at : at + len(clip)]))
        at += len(clip) + 11_200
    assert len(expected) > 140
    assert lost(expected, words(asr.transcribe(samples))) <= 0.15 * len(expected)


def test_samples_in_the_range_of_int16_are_heard_as_those_in_the_range_of_one(
    asr: tdt.Recognizer, talk: np.ndarray
) -> None:
    np.testing.assert_array_equal(heard(talk * np.float32(32768)), heard(talk * np.float32(10)))
    assert np.mean(heard(talk * np.float32(32768)) == heard(talk)) > 0.97
    expected = words(asr.transcribe(talk))
    assert lost(expected, words(asr.transcribe(talk * np.float32(32768)))) <= 0.05 * len(expected)


def test_ordinary_recordings_pass_as_they_are(talk: np.ndarray, rng: np.random.Generator) -> None:
    remove = HumRemover()
    for samples in (talk, rng.normal(0, 0.1, 256_000).astype(np.float32)):
        for start in range(0, len(samples) // 128_000 * 128_000, 128_000):
            block = samples[start : start + 128_000]
            assert remove(block, whole=True) is block


def test_taking_nothing_off_gives_the_samples_back(rng: np.random.Generator) -> None:
    before, samples = rng.normal(size=2048).astype(np.float32), rng.normal(size=5120).astype(np.float32)
    for start, length in ((before, 5120), (before[:0], 5120), (before[:1024], 5100), (before, 1), (before[:1], 513)):
        part = samples[:length]
        np.testing.assert_allclose(hum._joined(hum._spectra(start, part))[:length], part, atol=1e-5)


def test_a_hum_goes_on_over_the_edges_of_blocks() -> None:
    """No click where a block begins, though blocks are cleared one by one."""
    samples = (0.3 * disturbance("49.93 Hz and its third", 512_000)).astype(np.float32)
    remove = HumRemover()
    left = np.concatenate([remove(samples[i : i + 128_000], whole=True) for i in range(0, 512_000, 128_000)])
    assert vad.levels(left.reshape(-1, 512)).max() < -40  # of -10
    assert not heard(samples).any()


def test_a_hum_over_the_noise_of_a_room_is_silence(rng: np.random.Generator) -> None:
    for noise in (1e-4, 1e-3, 1e-2):
        room = rng.normal(0, noise, 256_000)
        for kind in KINDS:
            assert not heard((room + 0.3 * disturbance(kind, len(room))).astype(np.float32)).any(), (noise, kind)


@pytest.mark.parametrize("samples", [128_000, 128_001, 128_300, 128_512, 130_000, 200_123, 255_999])
@pytest.mark.parametrize("kind", ["50 Hz", "49.93 Hz and its third", "offset"])
def test_a_hum_that_ends_anywhere_is_no_speech(kind: str, samples: int) -> None:
    assert not heard((0.1 * disturbance(kind, samples)).astype(np.float32)).any()


def test_the_last_words_are_not_taken_for_a_hum(talk: np.ndarray) -> None:
    """What is there all the time is learnt from whole blocks: the last one may be all speech."""
    samples = added(talk, "50 Hz")
    remove = HumRemover()
    word = next(i for i in range(0, 128_000, 512) if heard(talk[:128_000])[i // 512 : i // 512 + 20].all())
    remove(samples[:128_000], whole=True)
    ending = remove(samples[128_000 + word : 128_000 + word + 20 * 512], whole=False)
    alone = HumRemover()(samples[128_000 + word : 128_000 + word + 20 * 512], whole=False)
    assert np.std(ending) > 2 * np.std(alone)
