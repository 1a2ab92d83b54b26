"""A live stream with the encoder on the real CUDA provider, over the do-nothing runtime: what a step makes anew.

Real: sessions, bindings, allocations, cuDNN's plans. Not real: numbers; what is said is not looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tdt
from tdt.errors import OptionError
from tdt.runtime import providers

from .fake_runtime import Spent
from .test_cuda_engines import StandIn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def asr() -> Iterator[Any]:
    with tdt.load(provider="cuda:0", decoder="native") as asr:
        asr._stages.encoder._batching = "together"  # the probe's numbers mean nothing here
        yield asr


def test_full_windows_have_one_shape_and_make_nothing_anew(asr: Any) -> None:
    encoder = asr._stages.encoder
    second = np.zeros(16_000, np.float32)
    with asr.live(left=4, chunk=1, right=1, restart=None) as live:
        for _ in range(8):  # the buffer fills; the last of these are full windows
            live.push(second)
        shapes = set(encoder._buffers) | set(encoder._fixed)
        assert (1, live.contexts.mel_frames) in shapes, "a full window is run as such, not as 640 mel frames"
        spent = Spent()
        for _ in range(4):
            live.push(second)
        found = spent()
        assert set(encoder._buffers) | set(encoder._fixed) == shapes
        assert found.allocations == 0
        # The five convolutions tell cuDNN their buffers in each run, and make no plan: that would be 45 more.
        assert found.cudnn_finalized == found.cudnn_executed == 4 * 5


def test_a_batch_of_streams_is_one_run(asr: Any) -> None:
    encoder = asr._stages.encoder
    with asr.live_batch(3, left=1, chunk=1, right=1, restart=None) as batch:
        for _ in range(4):
            batch.push([np.zeros(16_000, np.float32)] * 3)
    assert {rows for rows, _ in encoder._buffers} == {3}


LIVE_ENGINE = "tensorrt:0,int8,max_batch=1,max_seconds=14,opt_batch=1,opt_seconds=14"


def test_tensorrt_needs_one_shape(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """CUDA runs in TensorRT's place; the engine's profile is tuned for the full window, and takes no longer one."""
    tensorrt = StandIn()
    monkeypatch.setattr(providers, "_create", tensorrt.create)
    monkeypatch.setattr(providers, "provider_load_error", lambda *_: "")
    monkeypatch.setattr("tdt.encoding.device_encoder.probe_batching", lambda *_, **__: "together")
    with tdt.load(provider=f"{LIVE_ENGINE},cache={tmp_path}", decoder="native") as asr:
        ((_, options),) = tensorrt.opened
        assert (
            options["trt_profile_opt_shapes"] == options["trt_profile_max_shapes"] == "audio_signal:1x128x1401,length:1"
        )
        second = np.zeros(16_000, np.float32)
        with asr.live(restart=None) as live:  # 10-2-2
            for _ in range(18):
                live.push(second)
            shapes = set(asr._stages.encoder._buffers)  # type: ignore[attr-defined]
            for _ in range(6):
                live.push(second)
            assert set(asr._stages.encoder._buffers) == shapes  # type: ignore[attr-defined]
            assert max(length for _, length in shapes) == 1400
        with pytest.raises(OptionError, match=r"left \+ chunk \+ right.*at most 14 seconds"):
            asr.live(left=10.08)
