"""The decoder's kernel in a whole recogniser over the do-nothing runtime: where it is launched, and what is waited for.

Real: ONNX Runtime's CUDA provider, streams, the order of calls, the kernel's source (compiled for the host). Not real:
the encoder's numbers, all zero here; its frames are handed to the decoder as they lie.
"""

from __future__ import annotations

import gc
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tdt
from tdt.decoding.card_engine import CardEngine
from tdt.decoding.device_engine import DeviceEngine
from tdt.decoding.native import NativeEngine
from tdt.doctor.decoders import redecode
from tdt.errors import OptionError, ProviderError
from tdt.loading import choose_backends, make_engine
from tdt.model.finding import find_model
from tdt.runtime import card_kernel
from tdt.runtime.backend import Backend
from tdt.runtime.device import allocate
from tdt.stages import Encoded

from .fake_card import kernel_counts
from .fake_runtime import Enqueued, driver, held

if TYPE_CHECKING:
    from collections.abc import Iterator

CUDA = Backend.parse("cuda:0")


@pytest.fixture
def asr() -> Iterator[Any]:
    with tdt.load(provider="cuda:0") as asr:
        asr._stages.encoder._batching = "together"  # type: ignore[attr-defined]  # the probe's numbers mean nothing here
        yield asr


def test_the_decoder_goes_where_the_encoder_is(asr: Any) -> None:
    encoder, engine = asr._stages.encoder, asr._stages.engine
    assert isinstance(engine, CardEngine)
    assert engine.queue is encoder.queue
    assert encoder.decode_on == "device"


def test_a_batch_is_one_launch_behind_the_encoder_and_one_wait(asr: Any) -> None:
    features = asr.features([np.zeros(32_000, np.float32), np.zeros(24_000, np.float32)])
    stages = asr._stages
    for _ in range(2):  # the second time nothing is made any more
        encoded = stages.encoder.encode_for_decoding(features)
        enqueued, launched, made = Enqueued(stages.engine.queue.pointer), kernel_counts(driver()), held()
        stages.engine.decode(encoded)
        seen, now = enqueued(), kernel_counts(driver())
    assert now.launches - launched.launches == 1
    assert now[:3] == launched[:3]
    # One copy there, two states cleared, the kernel, one copy back.
    assert (seen.enqueued, seen.waits) == (5, 1)
    assert (seen.enqueued_elsewhere, seen.waits_elsewhere) == (0, 0)
    assert held() == made


def test_frames_that_lie_on_the_card_are_read_there(asr: Any) -> None:
    native = NativeEngine(*find_model(None))
    rng = np.random.default_rng(4)
    frames = (rng.standard_normal((2, 40, 144)) * 1.5).astype(np.float32)
    linear = asr._stages.engine._host
    projected = frames @ linear.matrix.values.T + linear.bias
    placed = allocate(projected.shape, np.float32, "cuda", 0)
    placed.copy_from(projected)
    lengths = np.array([40, 30])
    enqueued = Enqueued(asr._stages.engine.queue.pointer)
    decoded, _ = asr._stages.engine.decode(Encoded(None, lengths, placed))  # type: ignore[arg-type]
    assert enqueued().enqueued == 5, "no frame was copied"
    for one, other in zip(decoded, native.decode(Encoded(frames, lengths))[0], strict=True):
        np.testing.assert_array_equal(one.token_ids, other.token_ids)
    assert sum(map(len, decoded)) > 4
    rounded = allocate(projected.shape, np.float16, "cuda", 0)
    rounded.copy_from(projected)
    same = Encoded(None, lengths, np.asarray(rounded).astype(np.float32))  # type: ignore[arg-type]
    (ours, _), (theirs, _) = (
        asr._stages.engine.decode(one)
        for one in (Encoded(None, lengths, rounded), same)  # type: ignore[arg-type]
    )
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one.logprobs, other.logprobs)
    bare = allocate(frames.shape, np.float32, "cuda", 0)
    bare.copy_from(frames)
    asr._stages.engine.decode(Encoded(bare, lengths))  # type: ignore[arg-type]  # makes the projection's session
    enqueued = Enqueued(asr._stages.engine.queue.pointer)
    asr._stages.engine.decode(Encoded(bare, lengths))  # type: ignore[arg-type]
    seen = enqueued()
    assert seen.enqueued > 5, "projected there, by the graph"
    assert (seen.enqueued_elsewhere, seen.waits) == (0, 2)  # for the projection, and for the kernel
    native.close()


@pytest.mark.parametrize(
    ("decoder", "weights", "kind"),
    [
        ("auto", "auto", CardEngine),
        ("auto", "float32", CardEngine),
        ("auto", "float16", CardEngine),
        ("auto", "int8", NativeEngine),
        ("native", "auto", NativeEngine),
        ("onnx", "auto", DeviceEngine),
    ],
)
def test_which_engine_decodes(decoder: Any, weights: Any, kind: type) -> None:
    files, spec = find_model(None)
    _, backend = choose_backends(files, "cuda:0", None, None, decoder, weights)
    engine = make_engine(files, spec, decoder, weights, backend, None)
    assert isinstance(engine, kind)
    engine.close()


def test_a_card_that_cannot_run_the_kernel_leaves_decoding_to_the_host(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(card_kernel, "find_nvrtc", lambda major: None)
    with caplog.at_level(logging.WARNING, logger="tdt"), tdt.load(provider="cuda:0") as asr:
        assert isinstance(asr._stages.engine, NativeEngine)
    assert "NVRTC is not installed: pip install nvidia-cuda-nvrtc" in caplog.text
    with pytest.raises(ProviderError, match=r'weights="float16" needs the decoder on cuda:0.*NVRTC'):
        tdt.load(provider="cuda:0", weights="float16")
    with pytest.raises(ProviderError, match=r'NVRTC.*decoder="onnx"'):
        tdt.load(decoder_provider="cuda:0")
    with pytest.raises(OptionError, match="float16"):
        tdt.load(weights="float16")


@pytest.mark.nvrtc
def test_what_nvrtc_makes_is_what_the_driver_is_given(asr: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    images: list[bytes] = []
    load = card_kernel.CardContext.module_load
    monkeypatch.setattr(
        card_kernel.CardContext, "module_load", lambda self, image: images.append(image) or load(self, image)
    )
    CardEngine(*find_model(None), CUDA).close()
    assert len(images) == 2
    assert all(image[:4] == b"\x7fELF" and b"greedy" in image for image in images)


def test_doctor_compares_decoders_of_the_same_frames(asr: Any) -> None:
    rng = np.random.default_rng(5)
    encoded = Encoded((rng.standard_normal((1, 12, 144)) * 1.5).astype(np.float32), np.array([12]))
    ours = tuple(tuple(one.token_ids.tolist()) for one in asr.decode(encoded))
    assert redecode(asr, CUDA, encoded) == {"native": ours, "float16": ours}
    assert redecode(asr, Backend(), encoded) == {}


def test_memory_and_machine_code_are_given_back() -> None:
    gc.collect()
    before = kernel_counts(driver())
    with tdt.load(provider="cuda:0") as asr:
        asr.transcribe([np.zeros(24_000, np.float32)] * 10, errors="return")
        assert kernel_counts(driver()).pieces > before.pieces
    del asr
    gc.collect()
    assert kernel_counts(driver())[:3] == before[:3]
