"""Blocks of any size, rate and shape become the samples that the whole recording becomes, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tdt.audio.loading import load_audio
from tdt.errors import AudioValueError, OptionError
from tdt.live.contexts import Contexts
from tdt.live.resampling import Incoming
from tdt.live.windowing import WindowBuffer

RATES = (8000, 11025, 16000, 22050, 44100, 48000, 96000)


def taken(rate: int, blocks: list[Any], channel: int | None = None) -> np.ndarray:
    """Return what a buffer gets of the blocks of a stream."""
    incoming, buffer = Incoming("stream", rate, channel), WindowBuffer(Contexts(0, 4, 0, 1280))
    got: list[np.ndarray] = []
    for block in [*blocks, None]:
        if block is None:
            incoming.end()
        else:
            incoming.offer(block)
        incoming.pump(buffer)
        while buffer.ready():
            window = buffer.peek()
            assert window is not None
            got.append(window.samples[window.left :])
            buffer.advance(window)
            incoming.pump(buffer)
    assert buffer.heard == sum(map(len, got)) or buffer.heard < 160
    return np.concatenate([np.zeros(0, np.float32), *got])


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("size", [1, 80, 441, 10**6])
def test_every_rate_gives_the_bits_of_the_whole(rate: int, size: int, rng: np.random.Generator) -> None:
    noise = rng.standard_normal(rate // (4 if size == 1 else 1) + 7).astype(np.float32)
    expected = load_audio(noise, sample_rate=rate).samples
    blocks = [noise[start : start + size] for start in range(0, len(noise), size)]
    np.testing.assert_array_equal(taken(rate, blocks), expected)


@settings(max_examples=40)
@given(st.sampled_from(RATES), st.integers(200, 60_000), st.lists(st.integers(0, 60_000), max_size=20))
def test_any_cut_gives_the_same(rate: int, count: int, cuts: list[int]) -> None:
    noise = np.random.default_rng(count).standard_normal(count).astype(np.float32)
    expected = load_audio(noise, sample_rate=rate).samples if count * 16000 // rate >= 160 else None
    got = taken(rate, np.split(noise, sorted(cut for cut in cuts if cut <= count)))
    if expected is not None:
        np.testing.assert_array_equal(got, expected)


def test_types_and_channels_are_those_of_transcribe(rng: np.random.Generator) -> None:
    pair = (rng.standard_normal((20_000, 2)) * 3000).astype(np.int16)
    for source in (pair, pair[:, 0], pair.astype(np.float64) / 32768, np.asfortranarray(pair), pair[::-1]):
        blocks = [source[start : start + 77] for start in range(0, len(source), 77)]
        np.testing.assert_array_equal(taken(16000, blocks), load_audio(source).samples)
    one_by_one = [pair[place : place + 1] for place in range(2000)]
    np.testing.assert_array_equal(taken(16000, one_by_one), load_audio(pair[:2000]).samples)
    np.testing.assert_array_equal(taken(16000, [pair], 1), load_audio(pair, channel=1).samples)


def test_a_block_is_copied() -> None:
    block = np.ones(2000, np.float32)
    incoming, buffer = Incoming("stream", 16000), WindowBuffer(Contexts(0, 1, 0, 1280))
    incoming.offer(block)
    block[:] = 9
    incoming.pump(buffer)
    window = buffer.peek()
    assert window is not None
    assert np.all(window.samples == 1)


REFUSED: dict[str, Any] = {
    "NaN": np.array([0, np.nan], np.float32),
    "infinite": np.array([np.inf], np.float32),
    "float64 beyond float32": np.array([1e300]),
    "int32": np.zeros(10, np.int32),
    "bool": np.zeros(10, bool),
    "complex": np.zeros(10, complex),
    "text": "a.wav",
    "bytes": b"\0\0",
    "list": [0.0, 1.0],
    "None": None,
    "a number": 0.5,
    "no axis": np.float32(1),
    "three axes": np.zeros((2, 2, 2), np.float32),
    "transposed": np.zeros((2, 1600), np.float32),
    "no channels": np.zeros((10, 0), np.float32),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_block_leaves_no_trace(name: str) -> None:
    incoming = Incoming("The live stream", 16000)
    incoming.offer(np.full(100, 0.5, np.float32))
    with pytest.raises(AudioValueError, match=r"The live stream|array"):
        incoming.offer(REFUSED[name])
    assert incoming.samples == 100
    incoming.offer(np.full(100, 0.25, np.float32))
    buffer = WindowBuffer(Contexts(0, 9, 0, 1280))
    incoming.end()
    incoming.pump(buffer)
    window = buffer.peek()
    assert window is not None
    assert window.samples.tolist() == [0.5] * 100 + [0.25] * 100


def test_a_bad_sample_is_named_by_its_place_in_the_stream() -> None:
    incoming = Incoming("The live stream", 16000)
    incoming.offer(np.zeros(100, np.float32))
    with pytest.raises(AudioValueError, match="holds nan at sample 103"):
        incoming.offer(np.array([0, 0, 0, np.nan], np.float32))


def test_the_number_of_channels_stays() -> None:
    incoming = Incoming("The live stream", 16000)
    incoming.offer(np.zeros(0, np.float32))
    incoming.offer(np.zeros((1, 2), np.float32))
    with pytest.raises(AudioValueError, match="1 channels after blocks of 2"):
        incoming.offer(np.zeros(10, np.float32))
    with pytest.raises(OptionError, match="channel=2"):
        Incoming("The live stream", 16000, 2).offer(np.zeros((10, 2), np.float32))
