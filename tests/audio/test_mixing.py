"""What is odd about channels and samples is noticed, told with its cure, and put right where that is certain."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

import tdt
from tdt.audio import BlockReader, load_audio
from tdt.errors import AudioValueError

from ..sound_files import Pipe, by_ffmpeg, by_sndfile, speech

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WORDS = "The open source project has improved the first language model."


@pytest.fixture(scope="module")
def asr() -> Iterator[tdt.Recognizer]:
    with tdt.load() as recognizer:
        yield recognizer


def wav(samples: np.ndarray, rate_hz: int = 16000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="WAV", subtype="FLOAT")
    return file.getvalue()


# --- channels that cancel out -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [4.4, 26.4])
def test_antiphase_stereo_is_told_with_its_cure(
    seconds: float, asr: tdt.Recognizer, caplog: pytest.LogCaptureFixture
) -> None:
    left = speech(seconds)
    stereo = np.stack([left, -left], axis=1)
    with caplog.at_level(logging.WARNING, "tdt"):
        for source in (stereo, wav(stereo)):
            caplog.clear()
            asr.transcribe(source, chunk_seconds=10)
            assert len(caplog.records) == 1
            assert "cancel out" in caplog.text
            assert "--channel 0" in caplog.text
        caplog.clear()
        assert asr.transcribe(stereo, channel=0).text.startswith(WORDS)
        assert not caplog.records


@pytest.mark.parametrize("kind", ["nearly", "quieter", "filtered"])
def test_channels_that_nearly_cancel_are_told(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    left = speech(4.4)
    right = {"nearly": -0.95 * left, "quieter": -0.8 * left, "filtered": -np.convolve(left, [0.05, 0.9, 0.05], "same")}[
        kind
    ]
    with caplog.at_level(logging.WARNING, "tdt"):
        load_audio(np.stack([left, right.astype(np.float32)], axis=1))
    assert "cancel out" in caplog.text


@pytest.mark.parametrize("kind", ["array", "float64", "path", "bytes", "file", "pipe", "generator", "m4a", "opus"])
def test_antiphase_is_told_whatever_way_it_comes(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    left = speech(6.0, 48000)
    stereo = np.stack([left, -left], axis=1)
    (tmp_path / "a.wav").write_bytes(wav(stereo, 48000))
    sources: dict[str, Callable[[], Any]] = {
        "array": lambda: stereo,
        "float64": lambda: stereo.astype(np.float64),
        "path": lambda: tmp_path / "a.wav",
        "bytes": lambda: wav(stereo, 48000),
        "file": lambda: io.BytesIO(wav(stereo, 48000)),
        "pipe": lambda: Pipe(wav(stereo, 48000)),
        "generator": lambda: (stereo[start : start + 777] for start in range(0, len(stereo), 777)),
        "m4a": lambda: by_ffmpeg({"": stereo}, 48000, "ipod", "aac"),
        "opus": lambda: by_sndfile(stereo, 48000, "OGG", "OPUS"),
    }
    rate = 48000 if kind in {"array", "float64", "generator"} else None
    with caplog.at_level(logging.WARNING, "tdt"):
        with BlockReader(sources[kind](), sample_rate=rate) as reader:
            list(reader)
        assert len(caplog.records) == 1
        assert "--channel 0" in caplog.text
        if kind not in {"generator", "float64"}:
            caplog.clear()
            load_audio(sources[kind](), sample_rate=rate)
            assert len(caplog.records) == 1
        caplog.clear()
        with BlockReader(sources[kind](), sample_rate=rate, channel=1) as reader:
            taken = np.concatenate(list(reader))
        assert not caplog.records
    assert np.sqrt(np.mean(taken**2)) == pytest.approx(np.sqrt(np.mean(left**2)), rel=0.05)  # AAC and Opus lose some


@pytest.mark.parametrize("seconds", [8.0, 40.0])
@pytest.mark.parametrize("block", [4000, 10**9])
def test_a_stretch_that_cancels_is_told_with_its_place(
    block: int, seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    """Of some seconds in minutes: the energy of the whole does not show it."""
    left = speech(150.0)
    right = left.copy()
    right[60 * 16000 : round((60 + seconds) * 16000)] *= -1
    stereo = np.stack([left, right], axis=1)
    with caplog.at_level(logging.WARNING, "tdt"):
        with BlockReader(stereo[start : start + block] for start in range(0, len(stereo), block)) as reader:
            list(reader)
        assert len(caplog.records) == 1
        assert float(caplog.text.partition("from ")[2].split()[0]) == pytest.approx(60, abs=2)
        caplog.clear()
        load_audio(stereo)
        assert len(caplog.records) == 1


@pytest.mark.parametrize(("kind", "share"), [("half", -0.5), ("much louder", -0.05), ("louder and like", 0.05)])
def test_what_is_left_of_the_words_is_enough(
    kind: str, share: float, asr: tdt.Recognizer, caplog: pytest.LogCaptureFixture
) -> None:
    left = speech(4.4)
    stereo = np.stack([left, np.float32(share) * left], axis=1)
    with caplog.at_level(logging.WARNING, "tdt"):
        assert asr.transcribe(stereo).text == WORDS, kind
    assert not caplog.records


@pytest.mark.parametrize(
    "kind",
    [
        "equal",
        "one side",
        "unlike",
        "late",
        "silent",
        "hum in both",
        "eight",
        "rumble",
        "hum before",
        "hum between",
        "3 s",
    ],
)
def test_ordinary_channels_are_not(kind: str, rng: np.random.Generator, caplog: pytest.LogCaptureFixture) -> None:
    left = speech(12.0)
    nothing = np.zeros_like(left)
    hum = 0.0015 * np.sin(2 * np.pi * 50 * np.arange(len(left)) / 16000)  # in a pause; of opposite sign on some cables
    flipped = left.copy()
    flipped[4 * 16000 : 7 * 16000] *= -1
    channels = {
        "equal": [left, left],
        "one side": [left, nothing],
        "unlike": [left, np.roll(left[::-1], 500)],
        "late": [left, np.roll(left, 8)],
        "silent": [nothing, nothing],
        "hum in both": [left * 1e-4, rng.normal(0, 1e-5, len(left))],
        "eight": [left] + [nothing] * 7,
        "rumble": [left, left + rng.normal(0, 0.1, len(left))],
        "hum before": [np.concatenate([hum, left]), np.concatenate([-hum, left])],
        "hum between": [np.concatenate([left, hum, left]), np.concatenate([left, -hum, left])],
        "3 s": [left, flipped],
    }[kind]
    with caplog.at_level(logging.WARNING, "tdt"):
        load_audio(np.stack(channels, axis=1).astype(np.float32))
    assert not caplog.text


def test_it_is_told_while_a_long_recording_runs(caplog: pytest.LogCaptureFixture) -> None:
    left = speech(60.0)
    with caplog.at_level(logging.WARNING, "tdt"), BlockReader(wav(np.stack([left, -left], axis=1))) as reader:
        blocks = iter(reader)
        next(blocks)
        assert "cancel out" in caplog.text
        list(blocks)
    assert len(caplog.records) == 1


# --- integers in floats -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_integers_in_floats_are_told_and_give_the_words(
    bits: int, asr: tdt.Recognizer, caplog: pytest.LogCaptureFixture
) -> None:
    loud = speech(4.4) / np.abs(speech(4.4)).max() * np.float32(0.9)
    integers = np.round(loud * 2.0 ** (bits - 1)).astype(np.float32)
    with caplog.at_level(logging.WARNING, "tdt"):
        for source in (integers, integers.astype(np.float64), wav(integers)):
            caplog.clear()
            assert asr.transcribe(source).text == WORDS
            assert len(caplog.records) == 1
            assert f"integers of {bits} bits" in caplog.text
            assert "divided" in caplog.text


def test_the_samples_are_those_of_the_integers() -> None:
    integers = np.round(speech(4.4) * 32768).astype(np.int16)
    expected = load_audio(integers).samples
    np.testing.assert_array_equal(load_audio(integers.astype(np.float32)).samples, expected)
    with BlockReader(integers.astype(np.float32)) as reader:
        np.testing.assert_array_equal(np.concatenate(list(reader)), expected)


def test_no_word_is_lost_in_long_recordings(asr: tdt.Recognizer) -> None:
    """Silence of a few steps is silence there, too."""
    integers = np.concatenate([np.round(speech(4.4) * 32768), np.random.default_rng(1).integers(-2, 3, 32_000)])
    integers = np.tile(integers, 4).astype(np.float32)
    expected = asr.transcribe(integers.astype(np.int16), chunk_seconds=8)
    assert asr.transcribe(integers, chunk_seconds=8).text == expected.text
    pieces = (integers[start : start + 1600] for start in range(0, len(integers), 1600))
    assert " ".join(segment.text for segment in asr.stream(pieces, chunk_seconds=8)) == expected.text


@pytest.mark.parametrize("kind", ["full scale", "over", "click", "clicks"])
def test_floats_stay_as_they_are(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    samples = speech(4.4).copy()
    if kind == "over":
        samples *= 5 / np.abs(samples).max()
    if kind.startswith("click"):
        samples[:: 1000 if kind == "clicks" else 10**6][:150] = 9000.0
    with caplog.at_level(logging.WARNING, "tdt"):
        np.testing.assert_array_equal(load_audio(samples).samples, samples)
    assert not caplog.text


def test_what_is_beyond_all_integers_is_left_to_the_check() -> None:
    assert np.abs(load_audio(np.full(1600, 1e11, np.float32)).samples).max() == np.float32(1e11)
    with pytest.raises(AudioValueError, match="at sample 0"):
        load_audio(np.full(1600, 1e13))
