"""A live stream with the encoder on the real CUDA provider, over the do-nothing runtime: what a step makes anew.

Real: sessions, bindings, allocations, cuDNN's plans. Not real: numbers; what is said is not looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tdt

from .fake_runtime import Spent

if TYPE_CHECKING:
    from collections.abc import Iterator


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
