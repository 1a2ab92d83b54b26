"""The engine on the card, whole, without a card: its own driver calls reach the kernel's source compiled for the host.

Real: lifting, packing, memory, copies, the argument, the launch, the kernel, what is made of its results.
"""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tdt.decoding.card_engine import CardEngine
from tdt.decoding.native import NativeEngine
from tdt.errors import ClosedError, DecodingError, DeviceMemoryError, OptionError, ProviderError, UnrecognizedGraphError
from tdt.model.finding import find_model
from tdt.runtime.backend import Backend
from tdt.stages import DecoderState, Encoded
from tdt.timeline import Timeline

from .. import scripted_model, tiny_models
from .fake_card import FakeCard

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

if not os.environ.get("TDT_GPU_CONTRACTS") and shutil.which("g++") is None:
    pytest.skip("needs g++", allow_module_level=True)

CUDA = Backend.parse("cuda:0")


@pytest.fixture
def card(grid_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCard]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    card = FakeCard(grid_folder, monkeypatch)
    before = card.kernels()
    yield card
    after = card.kernels()
    assert after[:3] == before[:3], "memory and machine code are given back"


@pytest.fixture
def engine(card: FakeCard) -> Iterator[CardEngine]:
    engine = CardEngine(*find_model(None), CUDA)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def native() -> Iterator[NativeEngine]:
    engine = NativeEngine(*find_model(None))
    yield engine
    engine.close()


def encoded(lengths: list[int], seed: int = 0) -> Encoded:
    rng = np.random.default_rng(seed)
    frames = (rng.standard_normal((len(lengths), max(lengths, default=0), 144)) * 1.5).astype(np.float32)
    return Encoded(frames, np.array(lengths, np.int64))


def assert_same(ours: tuple[Any, Any], theirs: tuple[Any, Any]) -> None:
    """Compare hypotheses and states."""
    for one, other in zip(ours[0], theirs[0], strict=True):
        for name in ("token_ids", "frames", "durations"):
            mine, its = getattr(one, name), getattr(other, name)
            assert mine.dtype == its.dtype
            np.testing.assert_array_equal(mine, its)
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-5)
        np.testing.assert_allclose(one.entropy_confidences, other.entropy_confidences, atol=1e-3)
    for one, other in zip(ours[1], theirs[1], strict=True):
        assert (one.label, one.skip, one.frames_decoded) == (other.label, other.skip, other.frames_decoded)
        np.testing.assert_allclose(one.hidden, other.hidden, atol=1e-5)
        np.testing.assert_allclose(one.cell, other.cell, atol=1e-5)


@pytest.mark.parametrize("lengths", [[12], [9, 0, 14, 5], [6] * 8, [5, 7] * 8], ids=len)
def test_it_gives_what_the_native_engine_gives(
    card: FakeCard, engine: CardEngine, native: NativeEngine, lengths: list[int]
) -> None:
    batch = encoded(lengths, len(lengths))
    decoded = engine.decode(batch)
    assert sum(map(len, decoded[0])) > len(lengths)
    assert_same(decoded, native.decode(batch))
    assert card.said() == ""


def test_a_batch_is_one_launch_of_blocks_that_are_resident(card: FakeCard, engine: CardEngine) -> None:
    for count, threads in ((8, 256), (9, 256)):
        before = card.kernels()
        engine.decode(encoded([4] * count))
        after = card.kernels()
        assert (after.launches - before.launches, after.blocks, after.threads) == (1, 3, threads)
    held = card.kernels()
    engine.decode(encoded([4] * 9))
    assert card.kernels()[:3] == held[:3], "nothing is allocated for a batch as large as one before"
    card.be(132)
    wide = CardEngine(*find_model(None), CUDA)
    wide.decode(encoded([2]))
    assert card.kernels().blocks == 40  # as many as have work for some warps
    wide.close()


def test_more_rows_than_a_launch_holds(engine: CardEngine, native: NativeEngine, card: FakeCard) -> None:
    batch = encoded([2] * 127 + [3, 1, 2], 5)
    before = card.kernels().launches
    assert_same(engine.decode(batch), native.decode(batch))
    assert card.kernels().launches - before == 2


def test_pieces_carry_on(engine: CardEngine, native: NativeEngine) -> None:
    whole = encoded([21, 17], 6)
    states: list[DecoderState | None] = [None, None]
    expected, ours = native.decode(whole), []
    for begin, stop in ((0, 1), (1, 9), (9, 9), (9, 21)):
        lengths = np.clip(whole.lengths - begin, 0, stop - begin)
        hypotheses, states = engine.decode(Encoded(whole.frames[:, begin:stop], lengths), states)  # type: ignore[assignment]
        ours.append(hypotheses)
    for row, hypothesis in enumerate(expected[0]):
        found = np.concatenate([piece[row].token_ids for piece in ours])
        np.testing.assert_array_equal(found, hypothesis.token_ids)
        np.testing.assert_array_equal(np.concatenate([piece[row].frames for piece in ours]), hypothesis.frames)
    assert_same(([], states), ([], expected[1]))


def test_an_utterance_with_more_to_say_than_there_was_room_for(card: FakeCard, tmp_path: Path) -> None:
    shape = tiny_models.Shape(layers=1, vocab=50, hidden=8, joint=8, blank_bias=-30.0)
    model = find_model(tiny_models.write(tmp_path, shape), max_symbols=20)
    host, ours = NativeEngine(*model), CardEngine(*model, CUDA)
    rng = np.random.default_rng(7)
    batch = Encoded(rng.standard_normal((2, 9, 32)).astype(np.float32), np.array([9, 3]))
    before = card.kernels().launches
    decoded = ours.decode(batch)
    assert max(map(len, decoded[0])) > 20  # what there is room for at first
    assert card.kernels().launches - before >= 2
    assert_same(decoded, host.decode(batch))
    ours.close()
    host.close()


def test_projected_frames_and_bucket_padding(engine: CardEngine, native: NativeEngine) -> None:
    batch = encoded([7, 4], 8)
    linear = engine._host
    projected = np.full((2, 12, 160), np.nan, np.float32)
    projected[:, :7] = batch.frames @ linear.matrix.values.T + linear.bias
    bare = Encoded(None, batch.lengths, projected)  # type: ignore[arg-type]
    assert_same(engine.decode(bare), native.decode(batch))


def test_projected_frames_of_another_model_are_refused(engine: CardEngine) -> None:
    other = Encoded(None, np.array([3]), np.zeros((1, 3, 164), np.float32))  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"encoded\.projected='shape \(1, 3, 164\)' .*160"):
        engine.decode(other)


def test_half_weights_are_another_kernel(card: FakeCard, native: NativeEngine) -> None:
    half = CardEngine(*find_model(None), CUDA, weights="float16")
    batch = encoded([9, 8], 9)
    ours, theirs = half.decode(batch)[0], native.decode(batch)[0]
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one.token_ids, other.token_ids)
        assert 1e-7 < np.abs(one.logprobs - other.logprobs).max() < 0.05
    assert all("-DHALF_WEIGHTS=1" in source.options for source in card.compiler.compiled)
    half.close()


def test_machine_code_is_kept_on_disk(card: FakeCard, tmp_path: Path) -> None:
    for _ in range(2):
        CardEngine(*find_model(None), CUDA).close()
    assert len(card.compiler.compiled) == 2  # for 8 rows and for 16, once
    kept = sorted((tmp_path / "cache/tdt/kernels").glob("greedy-sm_90-*.cubin"))
    assert len(kept) == 2
    kept[0].write_bytes(kept[0].read_bytes()[:-1])
    CardEngine(*find_model(None), CUDA).close()
    assert len(card.compiler.compiled) == 3, "a damaged file is made anew"


def test_numbers_that_are_not_finite_are_told(engine: CardEngine) -> None:
    batch = encoded([9, 6], 10)
    batch.frames[1, 0] = np.nan
    with pytest.raises(DecodingError, match=r"utterance 1 at encoder frame 0\."):
        engine.decode(batch)
    engine.decode(encoded([9, 6], 10))


def test_what_is_refused(card: FakeCard, tmp_path: Path, native: NativeEngine) -> None:
    model = find_model(None)
    with pytest.raises(OptionError, match="float16"):
        CardEngine(*model, CUDA, weights="int8")  # type: ignore[arg-type]
    with pytest.raises(ProviderError, match="needs an NVIDIA card"):
        CardEngine(*model, Backend())
    card.be(cooperative=False)
    with pytest.raises(ProviderError, match=r"launches no cooperative kernels\. Use decoder="):
        CardEngine(*model, CUDA)
    card.be(memory_bytes=1 << 20)
    with pytest.raises(DeviceMemoryError, match=r"Memory for decoding does not fit .* 1\.0 MiB of"):
        CardEngine(*model, CUDA)
    card.be()
    table = np.zeros((2, 3, 4, 6), np.float32)
    with pytest.raises(UnrecognizedGraphError):
        CardEngine(*scripted_model.write(tmp_path, table, (0, 1, 2), "onnx-asr"), CUDA)


def test_empty_and_closed(card: FakeCard, engine: CardEngine) -> None:
    before = card.kernels().launches
    assert engine.decode(encoded([])) == ([], [])
    (hypothesis,), (state,) = engine.decode(encoded([0]))
    assert (len(hypothesis), state.label, state.skip) == (0, 256, 0)
    assert card.kernels().launches == before
    engine.close()
    with pytest.raises(ClosedError):
        engine.decode(encoded([4]))


def test_time_is_told_by_stage(engine: CardEngine) -> None:
    timeline = Timeline()
    engine.decode(encoded([3]), timeline=timeline)
    assert [(tally.name, tally.clock) for tally in timeline.tallies] == [
        ("h2d", "cuda-event"),
        ("joint", "cuda-event"),
        ("d2h", "cuda-event"),
    ]


def test_threads_take_turns(engine: CardEngine, native: NativeEngine) -> None:
    batches = [encoded([3 + seed, 5], seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for batch, decoded in zip(batches, pool.map(engine.decode, batches), strict=True):
            assert_same(decoded, native.decode(batch))
