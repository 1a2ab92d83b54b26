"""A kernel on a card all of whose blocks run at the same time, and memory for what it reads and writes."""

from __future__ import annotations

import weakref
from contextlib import suppress
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.errors import ProviderError
from tdt.runtime import card_context as card
from tdt.runtime.card_context import CardContext
from tdt.runtime.driver import read_driver
from tdt.runtime.nvrtc import CudaSource, compiled, find_nvrtc

if TYPE_CHECKING:
    from tdt.runtime.device_queue import CudaStream


class CardArray:
    """An array in a piece of a card's memory: what a queue copies to and from.

    Parameters
    ----------
    memory : CardMemory
        Kept alive.
    offset_bytes : int
    shape : tuple of int
    dtype : dtype
    """

    __slots__ = ("dtype", "memory", "pointer", "shape")

    def __init__(self, memory: CardMemory, offset_bytes: int, shape: tuple[int, ...], dtype: Any) -> None:
        self.memory = memory
        self.pointer = memory.pointer + offset_bytes
        self.shape = shape
        self.dtype = np.dtype(dtype)

    @property
    def nbytes(self) -> int:
        """Bytes."""
        return prod(self.shape) * int(self.dtype.itemsize)


class CardMemory:
    """A piece of a card's memory, given back with this object.

    Parameters
    ----------
    context : CardContext
    size_bytes : int

    Raises
    ------
    ProviderError
        Where there is not so much.
    """

    __slots__ = ("__weakref__", "_release", "pointer", "size_bytes")

    def __init__(self, context: CardContext, size_bytes: int) -> None:
        self.pointer = context.allocate(max(size_bytes, 1))
        self.size_bytes = size_bytes
        self._release = weakref.finalize(self, _quietly, context.free, self.pointer)
        self._release.atexit = False  # the process takes it along

    def array(self, offset_bytes: int, shape: tuple[int, ...], dtype: Any) -> CardArray:
        """Return an array in it."""
        return CardArray(self, offset_bytes, shape, dtype)

    def free(self) -> None:
        """Give the memory back now."""
        self._release()


class CardKernel:
    """A kernel, compiled and loaded.

    Parameters
    ----------
    queue : CudaStream
        Of the card.
    source : CudaSource
    name : str
        Of the kernel.
    threads : int
        Of a block.
    dynamic_bytes : int
        Of shared memory a block.

    Raises
    ------
    ProviderError
        Where the card cannot run it, or there is no compiler.
    """

    def __init__(self, queue: CudaStream, source: CudaSource, name: str, threads: int, dynamic_bytes: int) -> None:
        context = queue.context
        problem = cooperative_problem(queue.device_id)
        if problem:
            raise ProviderError(f'{source.name} cannot run on card {queue.device_id}: {problem}. Use decoder="onnx".')
        driver = read_driver()
        compiler = find_nvrtc(driver.cuda[0] if driver.cuda else 0)
        assert compiler is not None  # no problem, above
        capability = (context.attribute(card.COMPUTE_MAJOR), context.attribute(card.COMPUTE_MINOR))
        module = context.module_load(compiled(compiler, source, capability))
        self._context, self._queue = context, queue
        self._threads, self._dynamic_bytes = threads, dynamic_bytes
        self._release = weakref.finalize(self, _quietly, context.module_unload, module)
        self._release.atexit = False
        self._function = context.module_function(module, name)
        context.allow_shared_bytes(self._function, dynamic_bytes)
        each = context.resident_blocks(self._function, threads, dynamic_bytes)
        self.most_blocks = each * context.attribute(card.MULTIPROCESSORS)
        if not each:
            raise ProviderError(
                f"{source.name} does not fit card {queue.device_id}: a block needs {dynamic_bytes} bytes of shared "
                'memory. Use decoder="onnx".'
            )

    def launch(self, blocks: int, argument: bytes) -> None:
        """Enqueue it on the queue's stream."""
        assert 0 < blocks <= self.most_blocks
        stream = self._queue.pointer
        self._context.launch_together(self._function, blocks, self._threads, self._dynamic_bytes, argument, stream)

    def close(self) -> None:
        """Unload it."""
        self._release()


def cooperative_problem(device_id: int) -> str:
    """Return why a card cannot run kernels compiled here with all blocks at once; nothing where it can."""
    driver = read_driver()
    if driver.problem or device_id >= len(driver.cards):
        return driver.problem or f"there is no card {device_id}"
    if not CardContext(device_id).attribute(card.COOPERATIVE_LAUNCH):
        return "it launches no cooperative kernels"
    major = driver.cuda[0] if driver.cuda else 0
    if find_nvrtc(major) is None:
        package = "nvidia-cuda-nvrtc" if major > 12 else f"nvidia-cuda-nvrtc-cu{major}"
        return f"NVRTC is not installed: pip install {package}"
    return ""


def card_shared_bytes(context: CardContext) -> int:
    """Return the shared memory that a block of a card may have, asked for."""
    return context.attribute(card.SHARED_BYTES_OF_A_BLOCK)


def _quietly(function: Any, *arguments: Any) -> None:
    with suppress(ProviderError):
        function(*arguments)
