"""Page-locked memory of a pool: what it gives, keeps, gives back and refuses; the copies themselves: gpu_contracts."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tdt.errors import DeviceMemoryError
from tdt.runtime.pinned import LEAST_BYTES, PinnedPool, block_bytes

if TYPE_CHECKING:
    from tdt.runtime.pinned import PinnedBlock

MEGABYTE = 1 << 20


class Context:
    """Gives usual memory; refuses when told so."""

    def __init__(self) -> None:
        self.held: dict[int, Any] = {}
        self.asked: list[int] = []
        self.refuses = False

    def allocate_pinned(self, size_bytes: int) -> int:
        self.asked.append(size_bytes)
        if self.refuses:
            raise DeviceMemoryError("cuMemHostAlloc", "card 0", size_bytes, 0, 0)
        made = ctypes.create_string_buffer(size_bytes)
        self.held[ctypes.addressof(made)] = made
        return ctypes.addressof(made)

    def free_pinned(self, address: int) -> None:
        del self.held[address]


@pytest.fixture
def context() -> Context:
    return Context()


@pytest.fixture
def pool(context: Context) -> PinnedPool:
    return PinnedPool(context, 16 * MEGABYTE)  # type: ignore[arg-type]


def taken(pool: PinnedPool, size_bytes: int) -> PinnedBlock:
    block = pool.take(size_bytes)
    assert block is not None
    assert size_bytes <= block.size_bytes
    return block


def test_a_block_is_used_again_for_like_sizes_once_it_is_given_back(pool: PinnedPool, context: Context) -> None:
    first = taken(pool, 4 * MEGABYTE)
    assert taken(pool, 4 * MEGABYTE) is not first
    pool.give_back([first])
    assert taken(pool, 3 * MEGABYTE) is first
    pool.give_back([first])
    assert taken(pool, MEGABYTE) is not first  # left for what needs it
    assert taken(pool, 4 * MEGABYTE - 100) is first
    assert len(context.asked) == 3


def test_small_copies_need_none(pool: PinnedPool, context: Context) -> None:
    assert pool.take(LEAST_BYTES - 1) is None
    assert pool.take(0) is None
    assert context.asked == []


def test_it_holds_no_more_than_it_may(pool: PinnedPool, context: Context) -> None:
    blocks = [taken(pool, 4 * MEGABYTE) for _ in range(4)]
    assert pool.take(4 * MEGABYTE) is None
    assert pool.take(17 * MEGABYTE) is None
    pool.give_back(blocks[:2])
    del blocks[:2]
    assert taken(pool, 8 * MEGABYTE)  # in their place
    assert pool.held_bytes <= 16 * MEGABYTE
    assert sum(map(len, context.held.values())) <= 16 * MEGABYTE


def test_what_is_lost_is_given_back(pool: PinnedPool, context: Context) -> None:
    block = taken(pool, MEGABYTE)
    block.array((MEGABYTE // 4,), np.float32)[:] = 1
    assert len(context.held) == 1
    del block
    assert context.held == {}
    assert pool.held_bytes == 0


def test_a_system_that_locks_no_more_pages_is_asked_once(pool: PinnedPool, context: Context) -> None:
    context.refuses = True
    assert pool.take(MEGABYTE) is None
    assert pool.take(MEGABYTE) is None
    assert len(context.asked) == 1


def test_an_array_lies_at_its_start(pool: PinnedPool) -> None:
    block = taken(pool, MEGABYTE)
    array = block.array((2, 3), np.int64)
    array[...] = np.arange(6).reshape(2, 3)
    assert block.array((6,), np.int64).tolist() == [0, 1, 2, 3, 4, 5]


def test_blocks_are_at_most_a_quarter_larger_than_asked() -> None:
    for size in [1, 2, 3, 7, 65_536, 65_537, 49_152_000, 98_304_000, 100_000_001]:
        assert size <= block_bytes(size) <= size * 1.25
    sizes = {block_bytes(size) for size in range(MEGABYTE, 2 * MEGABYTE, 1000)}
    assert len(sizes) <= 5
