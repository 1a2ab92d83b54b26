"""Page-locked host memory, which a card copies from and to by itself: kept from copy to copy, bounded.

Out of usual memory the driver copies through small buffers of its own, piece by piece. This memory stays inside a
queue: whoever gets an array gets usual memory, since a process that is forked later might not find this one.
"""

from __future__ import annotations

import ctypes
import math
import threading
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.errors import ProviderError
from tdt.lifetime import Bound

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from tdt.runtime.card_context import CardContext

# Less than so much the driver takes along with the command itself.
LEAST_BYTES = 1 << 16
# Held by a pool at once: a batch's features (32 clips of 60 s are 98 MB) and some more.
MOST_BYTES = 128 << 20
_MOST_TOO_LARGE = 2  # times what is needed: a larger block is left for what needs it


class PinnedBlock:
    """A piece of page-locked memory, given back with this object; what is enqueued must be done with it."""

    __slots__ = ("__weakref__", "_bytes", "_release", "size_bytes")

    def __init__(self, context: CardContext, size_bytes: int) -> None:
        address = context.allocate_pinned(size_bytes)
        self.size_bytes = size_bytes
        self._release = weakref.finalize(self, _free, context, address)
        self._release.atexit = False  # the process takes it along
        self._bytes: Any = np.ctypeslib.as_array((ctypes.c_ubyte * size_bytes).from_address(address))

    def array(self, shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
        """Return the start of it as an array, to be used while this object lives."""
        wanted = np.dtype(dtype)
        made: npt.NDArray[Any] = self._bytes[: math.prod(shape) * wanted.itemsize].view(wanted).reshape(shape)
        return made

    def free(self) -> None:
        """Give it back now."""
        self._release()


class PinnedPool(Bound):
    """Blocks that are not in use, and how much there is of all.

    Parameters
    ----------
    context : CardContext
    most_bytes : int
        Of all blocks together.
    """

    def __init__(self, context: CardContext, most_bytes: int = MOST_BYTES) -> None:
        self._context, self._most_bytes = context, most_bytes
        self._lock = threading.Lock()
        self._free: list[PinnedBlock] = []
        self._blocks: weakref.WeakSet[PinnedBlock] = weakref.WeakSet()
        self._refused = False

    @property
    def held_bytes(self) -> int:
        """What there is now, in use or not."""
        return sum(block.size_bytes for block in list(self._blocks))

    def take(self, size_bytes: int) -> PinnedBlock | None:
        """Return a block of at least this size and undefined content; None where usual memory does, or has to do."""
        wanted = block_bytes(size_bytes)
        if size_bytes < LEAST_BYTES or wanted > self._most_bytes or self._refused:
            return None
        with self._lock:
            fitting = [block for block in self._free if wanted <= block.size_bytes <= _MOST_TOO_LARGE * wanted]
            if fitting:
                found = min(fitting, key=lambda block: block.size_bytes)
                self._free.remove(found)
                return found
            while self._free and self.held_bytes + wanted > self._most_bytes:
                self._free.pop(0).free()  # unused for the longest time
            if self.held_bytes + wanted > self._most_bytes:
                return None
            try:
                made = PinnedBlock(self._context, wanted)
            except ProviderError:  # the system locks no more pages: copies work without
                self._refused = True
                return None
            self._blocks.add(made)
            return made

    def give_back(self, blocks: Iterable[PinnedBlock]) -> None:
        """Take back blocks that nothing enqueued uses any more."""
        with self._lock:
            self._free += blocks


def block_bytes(size_bytes: int) -> int:
    """Return the size of the block for so many bytes: a quarter more at most, so that like shapes share blocks."""
    step = 1 << max(0, size_bytes.bit_length() - 3)
    return -(-size_bytes // step) * step


def _free(context: CardContext, address: int) -> None:
    with suppress(ProviderError):
        context.free_pinned(address)
