"""Queues without a card: which stream is taken, and what is refused; the stream itself: gpu_contracts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tdt
from tdt import loading
from tdt.errors import OptionError, ProviderError
from tdt.runtime.backend import Backend
from tdt.runtime.card_context import CardContext
from tdt.runtime.device import allocate
from tdt.runtime.device_queue import open_queue, open_queues, stream_pointer
from tdt.runtime.driver import read_driver
from tdt.runtime.work_queue import HostQueue
from tdt.timeline import Timeline

CUDA = Backend.parse("cuda:0")


@pytest.mark.parametrize(
    "stream",
    [
        4096,
        SimpleNamespace(ptr=4096),
        SimpleNamespace(cuda_stream=4096),
        SimpleNamespace(handle=SimpleNamespace(value=4096)),
        SimpleNamespace(__cuda_stream__=lambda: (0, 4096)),
    ],
    ids=["address", "cupy", "torch", "numba", "protocol"],
)
def test_streams_of_any_library_are_taken(stream: object) -> None:
    assert stream_pointer(stream) == 4096


@pytest.mark.parametrize("stream", ["4096", True, -1, None, object(), SimpleNamespace(ptr="x")])
def test_what_is_no_stream_is_refused(stream: object) -> None:
    with pytest.raises(OptionError, match="its address, or a stream of CuPy or PyTorch"):
        stream_pointer(stream)


@pytest.mark.parametrize("stream", [0, SimpleNamespace(ptr=0)])
def test_the_default_stream_is_refused_with_the_reason(stream: object) -> None:
    with pytest.raises(OptionError, match="keeps order with the default stream anyway"):
        stream_pointer(stream)


@pytest.mark.parametrize("provider", ["cpu", "tensorrt-rtx:0"])
def test_a_stream_needs_a_provider_that_takes_one(provider: str) -> None:
    with pytest.raises(OptionError, match=f"stream.*both parts on one card.*{provider}"):
        open_queues([Backend.parse(provider), Backend()], 4096)


def test_load_refuses_a_stream_without_a_card() -> None:
    with pytest.raises(OptionError, match="stream"):
        tdt.load(stream=4096)


def test_without_a_driver_the_session_tells_what_is_wrong() -> None:
    if not read_driver().problem:
        pytest.skip("this machine has a card")
    assert isinstance(open_queue(CUDA), HostQueue)
    with pytest.raises(ProviderError, match="cuda:0 cannot start: "):
        tdt.load(provider="cuda:0", stream=4096)
    with pytest.raises(ProviderError, match=r"libcuda\.so\.1|cuInit"):
        CardContext(0)


def test_the_host_queue_does_each_thing_at_once() -> None:
    queue, timeline = HostQueue(), Timeline()
    array = allocate((2, 3), np.float32, "cpu", 0)
    with queue.work(timeline) as stage:
        with stage("h2d"):
            queue.put(array, np.arange(6, dtype=np.float32).reshape(2, 3))
        with stage("d2h"):
            assert queue.read(array).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert [(span.name, span.clock) for span in timeline.spans] == [("h2d", "host+sync"), ("d2h", "host+sync")]


@pytest.mark.parametrize(
    ("encoder", "decoder", "place"),
    [
        ("cuda:0", "cuda:0", "device"),
        ("tensorrt:0,fp16", "cuda:0", "device"),
        ("cuda:0", "cuda:1", "host"),
        ("cuda:0", "cpu", "host"),
        ("tensorrt-rtx:0", "cuda:0", "host"),
    ],
)
def test_projected_frames_stay_where_the_decoder_is(
    encoder: str, decoder: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:

    made: dict[str, Any] = {}
    monkeypatch.setattr("tdt.encoding.DeviceEncoder", lambda *args, **options: made.update(options))
    parsed = Backend.parse(encoder), Backend.parse(decoder)
    loading.make_encoder(None, None, *parsed, None)  # type: ignore[arg-type]
    assert made["decode_on"] == place


@pytest.mark.parametrize(("columns", "wide"), [(5, 5), (3, 9), (0, 4), (4, 4)])
def test_a_host_queue_pads_with_zeros(columns: int, wide: int) -> None:
    source, target = allocate((2, 3, 5), np.float32, "cpu", 0), allocate((2, 3, wide), np.float32, "cpu", 0)
    values = np.arange(30, dtype=np.float32).reshape(2, 3, 5)
    source.copy_from(values)
    target.copy_from(np.full((2, 3, wide), 7, np.float32))
    HostQueue().pad(target, source, columns)
    expected = np.zeros((2, 3, wide), np.float32)
    expected[:, :, :columns] = values[:, :, :columns]
    np.testing.assert_array_equal(target.numpy(), expected)
