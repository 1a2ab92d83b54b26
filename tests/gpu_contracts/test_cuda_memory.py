"""Too little memory on a card, on the real CUDA provider: an error of its own, at load and in a run, and a split batch.

Real: the provider's arena and what it says. Not real: the card, which gives no piece of memory larger than it is told.
"""

from __future__ import annotations

import ctypes
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tdt
from tdt.encoding.device_encoder import DeviceEncoder
from tdt.errors import DecodingError, DeviceMemoryError
from tdt.model.finding import find_model
from tdt.runtime.backend import Backend
from tdt.stages import Features

from .fake_runtime import runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ALL = 1 << 35
FOR_TWO = 12_000_000  # the largest activation of two clips of 640 mel frames takes 10.5 MB


@pytest.fixture
def room() -> Iterator[Callable[[int], None]]:
    """Set the largest piece of memory that the card gives."""
    library = runtime()
    library.fake_cuda_most_bytes.argtypes = [ctypes.c_size_t]
    yield library.fake_cuda_most_bytes
    library.fake_cuda_most_bytes(ALL)


def encoder_of(backend: str) -> DeviceEncoder:
    encoder = DeviceEncoder(*find_model(None), Backend.parse(backend))
    encoder._batching = "together"  # the probe compares numbers, which mean nothing here
    return encoder


def features(batch: int, frames: int = 320) -> Features:
    return Features(np.zeros((batch, 128, frames), np.float32), np.full(batch, frames))


def test_a_model_that_does_not_fit_is_told_from_a_corrupt_one(room: Any) -> None:
    room(100_000)
    with pytest.raises(DeviceMemoryError) as caught:
        encoder_of("cuda:0")
    assert caught.value.asked_bytes > 100_000
    assert (caught.value.free_bytes, caught.value.total_bytes) == (100_000, 1 << 36)
    assert "encoder-model.onnx does not fit into the memory of cuda:0" in str(caught.value)


def test_a_limit_that_does_not_suffice_is_named() -> None:
    with pytest.raises(DeviceMemoryError, match=r"memory=0\.002: .* asked for, .* free\..*raise memory="):
        encoder_of("cuda:0,memory=0.002")


def test_a_decoder_that_does_not_fit_is_named(room: Any) -> None:
    room(100_000)
    with pytest.raises(DeviceMemoryError, match=r"does not fit into the memory of cuda:0: .* quantised model"):
        tdt.load(encoder_provider="cpu", decoder_provider="cuda:0", decoder="onnx")


def test_a_run_that_does_not_fit_is_refused(room: Any) -> None:
    encoder = encoder_of("cuda:0")
    room(1_000_000)
    with pytest.raises(DeviceMemoryError, match=r"A run of encoder-model\.onnx .*shorter clips"):
        encoder.encode(features(1, 3200))
    encoder.close()


def test_a_batch_that_does_not_fit_runs_in_two_halves(room: Any, caplog: pytest.LogCaptureFixture) -> None:
    encoder = encoder_of("cuda:0")
    shapes: list[int] = []
    bound = encoder._bound
    encoder._bound = lambda batch, *rest: shapes.append(batch) or bound(batch, *rest)  # type: ignore[method-assign]
    room(FOR_TWO)
    with caplog.at_level(logging.WARNING, logger="tdt"):
        encoded = encoder.encode(features(4, 640))
    assert shapes == [4, 2, 2]
    assert encoded.frames.shape == (4, 80, 144)
    assert "4 clips do not fit the card at once, now in two runs" in caplog.text
    shapes.clear()
    with pytest.raises(DeviceMemoryError):
        encoder.encode(features(16, 640))
    assert shapes == [16, 8]
    encoder.close()


def test_features_on_the_device_are_split_too(room: Any) -> None:
    encoder = encoder_of("cuda:0")
    given = encoder.session.allocate((4, 128, 640), np.float32)
    room(FOR_TWO)
    encoded = encoder.encode(Features(given, np.full(4, 640)), frames="device")  # type: ignore[arg-type]
    assert isinstance(encoded.frames, np.ndarray)  # of two runs, put together on the host
    assert encoded.frames.shape == (4, 80, 144)
    encoder.close()


def test_transcribe_gives_what_fits_alone(room: Any, caplog: pytest.LogCaptureFixture) -> None:
    samples = np.zeros(64_000, np.float32)
    with tdt.load(provider="cuda:0", decoder="onnx") as asr:
        encoder: Any = asr._stages.encoder
        encoder._batching = "together"
        room(FOR_TWO)
        with caplog.at_level(logging.WARNING, logger="tdt"):
            results = asr.transcribe([samples] * 8, batch_size=8, errors="return")
        long = asr.transcribe(np.zeros(16_000 * 30, np.float32), errors="return")
    assert len(results) == 8
    assert all(isinstance(result, (tdt.Transcript, DecodingError)) for result in results)
    assert "8 clips do not fit the card at once, now one by one" in caplog.text
    assert isinstance(long, DeviceMemoryError)
