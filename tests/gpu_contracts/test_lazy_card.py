"""Copies, page-locked memory and the decoder's launch on a card that takes its time: a thousand orders, no wrong byte.

Nothing is carried out before it has to be; streams overtake each other; what is to come to the host is poisoned until
it has come. So whoever reads before a wait, changes what the card has still to read, or gives memory back too early, is
seen.
"""

from __future__ import annotations

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tdt.decoding.card_engine import CardEngine
from tdt.decoding.native import NativeEngine
from tdt.model.finding import find_model
from tdt.runtime import device_queue, pinned
from tdt.runtime.backend import Backend
from tdt.runtime.card_kernel import CardArray, CardMemory
from tdt.runtime.device_queue import CudaStream
from tdt.stages import Encoded

from .fake_card import FakeCard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

if not os.environ.get("TDT_GPU_CONTRACTS") and shutil.which("gcc") is None:
    pytest.skip("needs gcc", allow_module_level=True)

CUDA = Backend.parse("cuda:0")
ORDERS = 1000
SHAPES = ((3, 40), (2, 5, 16), (64,), (7,))


@pytest.fixture
def card(grid_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCard]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    card = FakeCard(grid_folder, monkeypatch)
    yield card
    lateness = card.lateness()
    card.take_time(0)
    assert lateness.gone_too_early == 0
    assert lateness.waiting == 0


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small copies go through page-locked memory too, of which there is little."""
    monkeypatch.setattr(pinned, "LEAST_BYTES", 128)
    monkeypatch.setattr(
        device_queue, "PinnedPool", lambda context: pinned.PinnedPool(context, most_bytes=4 * pinned.block_bytes(640))
    )


class Program:
    """A stage at work: arrays on the card, what each should hold, and steps drawn by lot."""

    def __init__(self, queue: CudaStream, seed: int) -> None:
        self.queue, self.rng = queue, np.random.default_rng(seed)
        self.memory = CardMemory(queue.context, 1 << 14)
        self.arrays: list[CardArray] = []
        offset = 0
        for shape in SHAPES * 2:
            self.arrays.append(self.memory.array(offset, shape, np.float32))
            offset += 256 * (1 + self.arrays[-1].nbytes // 256)
        self.expected = [np.zeros(array.shape, np.float32) for array in self.arrays]
        for array, values in zip(self.arrays, self.expected, strict=True):
            queue.put(array, values.copy())
        self.read: list[tuple[np.ndarray, np.ndarray]] = []
        self.wrong = 0

    def step(self) -> None:
        place = int(self.rng.integers(len(self.arrays)))
        target, expected = self.arrays[place], self.expected[place]
        what = self.rng.integers(5)
        if what == 0:
            self._wait()
        elif what == 1:
            self.read.append((self.queue.read(target), expected.copy()))
        elif what == 2 and len(target.shape) > 1:
            other = (place + len(SHAPES)) % len(self.arrays)
            columns = int(self.rng.integers(target.shape[-1] + 1))
            self.queue.pad(target, self.arrays[other], columns)
            if columns:  # without columns it enqueues nothing
                expected[...] = 0
                expected[..., :columns] = self.expected[other][..., :columns]
        else:
            columns = int(self.rng.integers(1, target.shape[-1] + 1))
            values = self.rng.standard_normal((*target.shape[:-1], columns), np.float32)
            self.queue.put_padded(target, values)
            expected[...] = 0
            expected[..., :columns] = values
            values[...] = 7.0  # it may change at once

    def end(self) -> int:
        """Read everything; return how many arrays were not as they should be."""
        for array, expected in zip(self.arrays, self.expected, strict=True):
            self.read.append((self.queue.read(array), expected.copy()))
        self._wait()
        self.memory.free()
        return self.wrong

    def _wait(self) -> None:
        self.queue.wait()
        self.wrong += sum(not np.array_equal(found, expected) for found, expected in self.read)
        self.read.clear()


def wrong_in(card: FakeCard, seed: int, steps: int = 30) -> int:
    """Run two stages that share a stream, and one on a stream of its own, step by step in some order."""
    card.take_time(seed)
    shared = CudaStream(0)
    programs = [Program(queue, seed * 10 + number) for number, queue in enumerate((shared, shared, CudaStream(0)))]
    turns = np.random.default_rng(seed).integers(len(programs), size=steps)
    for turn in turns:
        programs[turn].step()
    return sum(program.end() for program in programs)


@pytest.mark.usefixtures("small_blocks")
def test_no_byte_is_wrong_in_a_thousand_orders(card: FakeCard) -> None:
    done_late = 0
    for seed in range(1, ORDERS + 1):
        assert wrong_in(card, seed) == 0, f"seed {seed}"
        lateness = card.lateness()
        assert (lateness.gone_too_early, lateness.waiting) == (0, 0), f"seed {seed}"
        done_late += lateness.enqueued
    assert done_late > 20 * ORDERS


@pytest.mark.usefixtures("small_blocks")
def test_no_byte_is_wrong_when_threads_share_a_stream(card: FakeCard) -> None:
    """Each waits for what it has enqueued, whoever waits in between."""

    def work(queue: CudaStream, seed: int) -> int:
        program = Program(queue, seed)
        for _ in range(40):
            program.step()
        return program.end()

    with ThreadPoolExecutor(4) as pool:
        for seed in range(1, 51):
            card.take_time(seed)
            queue = CudaStream(0)
            assert list(pool.map(work, [queue] * 4, range(seed * 10, seed * 10 + 4))) == [0] * 4
            assert card.lateness().waiting == 0


def gives_blocks_back_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def note(self: CudaStream, copy: Any) -> None:
        if copy.block is not None:
            self._pinned.give_back([copy.block])

    monkeypatch.setattr(CudaStream, "_note", note)


def takes_results_before_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(self: CudaStream) -> None:
        for copy in self._in_flight.pop(threading.get_ident(), []):
            if copy.result is not None:
                copy.result[...] = copy.staged
        self.context.stream_wait(self.pointer)

    monkeypatch.setattr(CudaStream, "wait", wait)


def does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tdt.runtime.card_context.CardContext.stream_wait", lambda *_: None)


def copies_from_the_source_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def put_padded(self: CudaStream, target: Any, array: np.ndarray) -> None:
        if array.shape == target.shape:
            self.context.copy_to_device(target.pointer, array, self.pointer)
        else:
            original(self, target, array)

    original = CudaStream.put_padded
    monkeypatch.setattr(CudaStream, "put_padded", put_padded)


def leaves_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tdt.runtime.card_context.CardContext.clear", lambda *_: None)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    "fault",
    [
        gives_blocks_back_at_once,
        takes_results_before_the_wait,
        does_not_wait,
        copies_from_the_source_itself,
        leaves_what_was_there,
    ],
)
def test_what_is_done_wrongly_is_seen(
    fault: Callable[[pytest.MonkeyPatch], None], card: FakeCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        fault(patched)
        assert any(wrong_in(card, seed) for seed in range(1, 21))
    card.take_time(0)


def test_memory_that_goes_too_early_is_seen(card: FakeCard) -> None:
    """The test's own test: as many orders as it takes."""
    for seed in range(1, 21):
        card.take_time(seed)
        queue = CudaStream(0)
        memory = CardMemory(queue.context, 4096)
        queue.put(memory.array(0, (1024,), np.float32), np.zeros(1024, np.float32))
        if card.lateness().waiting:
            memory.free()
            assert card.lateness().gone_too_early == 1
            card.library.fake_driver_forget()
            break
        queue.wait()
    else:
        pytest.fail("everything was done at once")
    card.take_time(0)


def test_the_decoder_gives_the_same_in_any_order(card: FakeCard) -> None:
    """Two threads share engine and stream, as the stages of a recogniser do."""
    from tdt.kernels.decoder import greedy_fields

    engine, native = CardEngine(*find_model(None), CUDA), NativeEngine(*find_model(None))
    rng = np.random.default_rng(14)
    batches = []
    for lengths in ([9, 4], [12], [3, 3, 7]):
        frames = (rng.standard_normal((len(lengths), max(lengths), 144)) * 1.5).astype(np.float32)
        batches.append(Encoded(frames, np.array(lengths, np.int64)))
    expected = [[part.token_ids.tolist() for part in native.decode(batch)[0]] for batch in batches]
    assert sum(len(tokens) for batch in expected for tokens in batch) > 10
    with ThreadPoolExecutor(2) as pool:
        for seed in range(1, 21):
            card.take_time(seed, greedy_fields.SIZE)
            decoded = [hypotheses for hypotheses, _ in pool.map(engine.decode, batches)]
            assert [[part.token_ids.tolist() for part in each] for each in decoded] == expected, f"seed {seed}"
            lateness = card.lateness()
            assert (lateness.gone_too_early, lateness.waiting) == (0, 0)
    card.take_time(0)
    engine.close()
    native.close()
