"""What a run asks of the card, counted by the do-nothing runtime: plans of cuDNN, products of cuBLAS, launches, copies.

The figures are upper bounds; who makes one smaller may lower its bound. They say nothing of time.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

from tdt.encoding.device_encoder import DeviceEncoder
from tdt.model.finding import find_model
from tdt.runtime.backend import Backend
from tdt.runtime.session import Session
from tdt.stages import Features

from .fake_runtime import Counters, Spent
from .layered_model import write_layered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tdt.spec import ModelFiles

CUDA = Backend.parse("cuda:0")
CALLS_A_PLAN = 9  # of cudnnBackendFinalize, for each convolution whose shape is another than the last time


class Deep(NamedTuple):
    """The 24 layers of the published 0.6B encoders, and a session as it was before graphs were prepared."""

    files: ModelFiles
    encoder: DeviceEncoder


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deep]:
    files, spec = find_model(None)
    path = write_layered(files.encoder, tmp_path_factory.mktemp("deep") / "encoder-model.onnx")
    files = replace(files, encoder=path)
    encoder = DeviceEncoder(files, spec, CUDA)
    encoder._batching = "together"  # the probe compares numbers, which mean nothing here
    yield Deep(files, encoder)
    encoder.close()


def features(rows: int, mel_frames: int) -> Features:
    return Features(np.zeros((rows, 128, mel_frames), np.float32), np.full(rows, mel_frames))


def spent(encoder: DeviceEncoder, rows: int, mel_frames: int) -> Counters:
    counted = Spent()
    encoder.encode_for_decoding(features(rows, mel_frames))
    return counted()


def test_an_export_as_it_is_plans_77_convolutions(deep: Deep) -> None:
    """What the preparation saves; also that the counters count."""
    session = Session(deep.files.encoder, CUDA)
    names = [port.name for port in session.inputs]
    for mel_frames in (1024, 800):
        counted = Spent()
        session.run(dict(zip(names, (features(1, mel_frames).frames, np.array([mel_frames])), strict=True)))
    assert (counted().cudnn_executed, counted().cudnn_plans) == (77, 77)
    assert counted().cudnn_finalized == 77 * CALLS_A_PLAN == 693


def test_a_recurring_shape_makes_no_plan(deep: Deep) -> None:
    spent(deep.encoder, 1, 1024)
    again = spent(deep.encoder, 1, 1024)
    assert again.cudnn_plans == 0
    assert again.cudnn_finalized == again.cudnn_executed == 5  # what a run's buffers are told in
    assert again.allocations == 0


def test_a_new_shape_makes_five_plans(deep: Deep) -> None:
    spent(deep.encoder, 1, 1024)
    for rows, mel_frames in ((1, 2048), (2, 2048), (1, 2048), (1, 1024)):
        found = spent(deep.encoder, rows, mel_frames)
        assert found.cudnn_plans == found.cudnn_executed == 5
        assert found.cudnn_finalized <= 5 * CALLS_A_PLAN == 45


def test_lengths_of_the_same_bucket_make_no_plan(deep: Deep) -> None:
    spent(deep.encoder, 1, 999)
    for mel_frames in (1001, 1004, 960, 1024):
        assert spent(deep.encoder, 1, mel_frames).cudnn_plans == 0, mel_frames


def test_features_on_the_device_run_at_a_recurring_length(deep: Deep) -> None:
    encoder = deep.encoder
    spent(encoder, 1, 1024)
    for mel_frames in (999, 1001, 1004):
        given: Any = encoder.session.allocate((1, 128, mel_frames + 1), np.float32)
        counted = Spent()
        encoded = encoder.encode(Features(given, np.array([mel_frames])), frames="none", projected="host")
        assert counted().cudnn_plans == 0
        assert counted().allocations == 0
        assert encoded.projected.shape == (1, encoder.spec.encoder_length(mel_frames), 160)


# rows → launches, products, copies to and from the device and on it. The copies to the device of larger batches are of
# pointers: cuBLAS takes the positions, which all rows share, by a list for each row.
MOST = {1: (803, 322, 2, 1, 36), 2: (852, 322, 74, 1, 7), 8: (852, 322, 74, 1, 7)}


@pytest.mark.parametrize("rows", MOST)
def test_a_run_asks_for_no_more_than_it_did(deep: Deep, rows: int) -> None:
    spent(deep.encoder, rows, 800)
    found = spent(deep.encoder, rows, 800)
    launches, products, up, down, inside = MOST[rows]
    assert 0 < found.launches <= launches
    assert 0 < found.cublas_calls <= products
    assert 0 < found.host_to_device <= up
    assert 0 < found.device_to_host <= down
    assert found.device_to_device <= inside
    assert found.synchronisations <= 2  # the run's own, and the stage's


@pytest.mark.parametrize("seed", range(3))
def test_memory_is_that_of_the_longest_in_whatever_order(seed: int) -> None:
    """Regions that are as large as what was asked for never join: ascending lengths then held five times as much."""
    lengths = list(range(200, 4001, 200))
    orders = {"descending": lengths[::-1], "ascending": lengths}
    orders["random"] = np.random.default_rng(seed).permutation(lengths).tolist()
    held = {}
    for name, order in orders.items():
        counted = Spent()
        encoder = DeviceEncoder(*find_model(None), CUDA)
        encoder._batching = "together"
        for mel_frames in order:
            spent(encoder, 1, mel_frames)
        held[name] = counted().held_bytes
        encoder.close()
        del encoder
    assert max(held.values()) <= 1.1 * held["descending"]


def test_what_is_free_is_read_once_the_model_is_there() -> None:
    encoder = DeviceEncoder(*find_model(None), CUDA)
    assert encoder.card_bytes == encoder.queue.context.memory()[0] > 1 << 30  # type: ignore[attr-defined]
    limited = DeviceEncoder(*find_model(None), Backend.parse("cuda:0,memory=1"))
    assert limited.card_bytes == 1 << 30
    for made in (encoder, limited):
        made.close()
