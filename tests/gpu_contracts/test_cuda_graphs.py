"""Runs of single clips as CUDA graphs, over the do-nothing runtime: when, in which thread, and what a replay is.

Real: that ONNX Runtime takes the encoder for a capture, and what a run asks of the runtime and of the driver. Not real:
the captured work itself, and time.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tdt.encoding import device_sessions
from tdt.encoding.device_encoder import DeviceEncoder
from tdt.errors import RunError
from tdt.model.finding import find_model
from tdt.runtime.backend import Backend
from tdt.runtime.capturing import UNCAPTURED
from tdt.runtime.provider_options import CUDA as CUDA_PROVIDER
from tdt.stages import Features

from .fake_runtime import Counters, Spent

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def encoder() -> Iterator[DeviceEncoder]:
    encoder = DeviceEncoder(*find_model(None), Backend.parse("cuda:0,graphs=2"), decode_on="device")
    encoder._batching = "together"  # the probe compares numbers, which mean nothing here
    yield encoder
    encoder.close()


def spent(encoder: DeviceEncoder, mel_frames: int, rows: int = 1) -> Counters:
    counted = Spent()
    encoder.encode_for_decoding(Features(np.zeros((rows, 128, mel_frames), np.float32), np.full(rows, mel_frames)))
    return counted()


def test_a_shape_that_recurs_is_one_launch(encoder: DeviceEncoder) -> None:
    launches = [spent(encoder, 512).launches for _ in range(4)]
    assert launches[0] > 200
    assert launches[1] > launches[0], "run as usual, and captured"
    assert launches[2:] == [1, 1]
    replayed = spent(encoder, 512)
    assert (replayed.host_to_device, replayed.device_to_host) == (2, 0), "features and lengths alone"
    assert replayed.device_to_device == 1, "the projected frames leave as a copy"
    assert (replayed.cublas_calls, replayed.cudnn_finalized) == (0, 0)


def test_a_captured_run_copies_nothing_from_host_memory(encoder: DeviceEncoder) -> None:
    """What a graph copies from the host, it would copy at each replay, from memory that others use by then."""
    spent(encoder, 512)
    capturing = spent(encoder, 512)
    assert (capturing.host_to_device, capturing.device_to_host) == (2, 0)


def test_shapes_take_turns(encoder: DeviceEncoder) -> None:
    for _ in range(2):
        for mel_frames in (512, 1024, 256):
            spent(encoder, mel_frames)
    assert [spent(encoder, mel_frames).launches == 1 for mel_frames in (512, 1024, 512, 256)] == [
        True,
        True,
        True,
        False,
    ]


def test_batches_are_never_captured(encoder: DeviceEncoder) -> None:
    assert all(spent(encoder, 512, rows=2).launches > 200 for _ in range(4))


def test_what_leaves_is_not_overwritten_by_the_next_run(encoder: DeviceEncoder) -> None:
    given = Features(np.zeros((1, 128, 512), np.float32), np.array([512]))
    kept: list[Any] = [encoder.encode_for_decoding(given).projected for _ in range(5)]
    own = next(iter(encoder._fixed.values())).projected.pointer
    assert len({array.pointer for array in kept} | {own}) == 6


def test_all_threads_share_the_graphs(encoder: DeviceEncoder) -> None:
    for _ in range(2):
        spent(encoder, 512)
    with ThreadPoolExecutor(3) as pool:
        assert all(counted.launches == 1 for counted in [pool.submit(spent, encoder, 512).result() for _ in range(3)])
    ran = []
    binding = next(iter(encoder._fixed.values())).bindings[0]
    encoder._captured._thread.submit(lambda: ran.append(threading.get_ident())).result()  # type: ignore[union-attr]
    assert ran != [threading.get_ident()]
    assert binding._session.captures


def test_without_the_option_nothing_is_captured() -> None:
    encoder = DeviceEncoder(*find_model(None), Backend.parse("cuda:0"))
    encoder._batching = "together"
    assert not encoder.session.captures
    assert encoder.session._session.get_provider_options()[CUDA_PROVIDER]["enable_cuda_graph"] == "0"
    assert all(spent(encoder, 512).launches > 200 for _ in range(4))
    encoder.close()


def test_the_projection_behind_an_encoder_is_not_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    real = device_sessions.device_graph

    def without_projection(*arguments: Any, **options: Any) -> Any:
        graph = real(*arguments, **options)
        return type(graph)(files_encoder(), None, False, 0)

    def files_encoder() -> bytes:
        return find_model(None)[0].encoder.read_bytes()

    monkeypatch.setattr(device_sessions, "device_graph", without_projection)
    with pytest.MonkeyPatch.context():
        encoder = DeviceEncoder(*find_model(None), Backend.parse("cuda:0,graphs=2"))
    assert not encoder.session.captures, "an export as it is leaves a node to the CPU"
    assert encoder._sessions.tail is not None
    assert not encoder._sessions.tail.captures
    encoder.close()


def test_a_run_that_cannot_be_captured_runs_as_usual(
    encoder: DeviceEncoder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from tdt.runtime.session import Binding

    real = Binding.run

    def run(self: Binding, *, wait: bool = True, graph: int = UNCAPTURED) -> None:
        if graph != UNCAPTURED:
            raise RunError("encoder-model.onnx", "cuda:0", "operation not permitted when stream is capturing")
        real(self, wait=wait)

    monkeypatch.setattr(Binding, "run", run)
    assert all(spent(encoder, 512).launches > 200 for _ in range(4))
    assert [record.message for record in caplog.records if "CUDA graphs are left off" in record.message]
    assert len(caplog.records) == 1
