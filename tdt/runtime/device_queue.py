"""Work on a card in order: one CUDA stream that copies, sessions and kernels share, waited for once a stage.

Made with the driver's own functions: no CUDA package is needed, and the stream may as well be the caller's. Where there
is no stream to share (the CPU, TensorRT-RTX), a queue of the same shape does each thing at once.
"""

from __future__ import annotations

import math
import threading
import weakref
from contextlib import contextmanager, suppress
from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tdt.errors import OptionError, ProviderError
from tdt.lifetime import Bound
from tdt.runtime.card_context import CardContext
from tdt.runtime.driver import read_driver
from tdt.runtime.pinned import PinnedPool
from tdt.runtime.work_queue import HostQueue
from tdt.timeline import NULL, Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from tdt.runtime.backend import Backend
    from tdt.runtime.pinned import PinnedBlock
    from tdt.runtime.session import Binding
    from tdt.runtime.work_queue import Placed, Stage, WorkQueue

    Array = npt.NDArray[Any]


_HANDLES = ("ptr", "cuda_stream", "handle")  # of CuPy, PyTorch, Numba


class _InFlight(NamedTuple):
    """A copy that is enqueued: its host memory, the block that holds it, and the array to be filled at the end."""

    staged: Array
    block: PinnedBlock | None = None
    result: Array | None = None


class CudaStream(Bound):
    """A stream of a card: the caller's, or one made here.

    One made here keeps order with the default stream, so that what other libraries enqueue there is done before what
    follows it here, and the other way round.

    Parameters
    ----------
    device_id : int
    pointer : int, optional
        The caller's stream; 0 makes one.
    owner : object, optional
        Kept alive as long as this: the caller's stream object.

    Raises
    ------
    ProviderError
        Where the driver makes no stream.
    """

    __slots__ = ("__weakref__", "_context", "_in_flight", "_owner", "_pinned", "device_id", "pointer")

    def __init__(self, device_id: int, pointer: int = 0, owner: object = None) -> None:
        self.device_id, self._owner = device_id, owner
        self._context = CardContext(device_id)
        self._in_flight: dict[int, list[_InFlight]] = {}  # by thread: each waits for what it has enqueued
        self._pinned = PinnedPool(self._context)
        self.pointer = pointer
        if not pointer:
            self.pointer = self._context.stream_create()
            # Not at exit: sessions may still hold it then, and the process takes it along.
            weakref.finalize(self, _destroy, self._context, self.pointer).atexit = False

    def put(self, target: Placed, array: Array) -> None:
        """Enqueue a copy to the device; the source is kept until all is done, and must stay as it is."""
        host = np.ascontiguousarray(array, target.dtype)
        assert host.shape == target.shape
        if host.nbytes:
            self._note(_InFlight(host))
            self._context.copy_to_device(target.pointer, host, self.pointer)

    def put_padded(self, target: Placed, array: Array) -> None:
        """Enqueue a copy to the start of the target's last axis, zeros after it, by way of page-locked memory."""
        assert array.shape[:-1] == target.shape[:-1]
        size_bytes = math.prod(target.shape) * target.dtype.itemsize
        if size_bytes:
            block = self._pinned.take(size_bytes)
            host = np.empty(target.shape, target.dtype) if block is None else block.array(target.shape, target.dtype)
            self._note(_InFlight(host, block))  # first: an interrupt in between must not lose what the card reads
            columns = array.shape[-1]
            host[..., :columns] = array
            host[..., columns:] = 0
            self._context.copy_to_device(target.pointer, host, self.pointer)

    def pad(self, target: Placed, source: Placed, columns: int) -> None:
        """Enqueue zeros, and a copy of the first `columns` of the last axis; `source` must stay until all is done."""
        rows, width = math.prod(target.shape[:-1]), target.dtype.itemsize
        assert source.shape[:-1] == target.shape[:-1]
        assert source.dtype == target.dtype
        assert columns <= min(source.shape[-1], target.shape[-1])
        if rows * columns:
            if columns < target.shape[-1]:
                self._context.clear(target.pointer, rows * target.shape[-1] * width, self.pointer)
            pitches = (target.shape[-1] * width, source.shape[-1] * width)
            self._context.copy_columns(target.pointer, source.pointer, pitches, columns * width, rows, self.pointer)

    def run(self, binding: Binding, *, more: bool = False) -> None:
        """Enqueue a session's run and wait for it, unless `more` of the same session follow.

        A session may not end with a run that was only enqueued (:meth:`tdt.runtime.session.Session.close`).
        """
        binding.run(wait=not more)

    def read(self, source: Placed) -> Array:
        """Enqueue a copy to the host."""
        host: Array = np.empty(source.shape, source.dtype)
        if host.nbytes:
            block = self._pinned.take(host.nbytes)
            staged = host if block is None else block.array(host.shape, host.dtype)
            self._note(_InFlight(staged, block, None if block is None else host))
            self._context.copy_to_host(staged, source.pointer, self.pointer)
        return host

    @property
    def context(self) -> CardContext:
        """The card's context, for memory and kernels of one's own."""
        return self._context

    def wait(self) -> None:
        """Wait for the stream; an error of any kernel before comes out here."""
        self._context.stream_wait(self.pointer)
        # This thread's own only, kept until here: another one's may have come while this one waited.
        done = self._in_flight.pop(threading.get_ident(), [])
        for copy in done:
            if copy.result is not None:
                copy.result[...] = copy.staged
        self._pinned.give_back([copy.block for copy in done if copy.block is not None])

    def _note(self, copy: _InFlight) -> None:
        self._in_flight.setdefault(threading.get_ident(), []).append(copy)

    @contextmanager
    def work(self, timeline: Recorder = NULL) -> Iterator[Stage]:
        """Time each stage by the device's own clock, between two events on the stream."""
        marks: list[tuple[str, int, int]] = []

        @contextmanager
        def stage(name: str) -> Iterator[None]:
            if timeline is NULL:
                yield
                return
            begin, end = self._context.event_create(), self._context.event_create()
            marks.append((name, begin, end))
            self._context.event_record(begin, self.pointer)
            yield
            self._context.event_record(end, self.pointer)

        try:
            yield stage
        except BaseException:
            with suppress(ProviderError):  # the first error is the one to tell
                self.wait()
            self._forget(marks)
            raise
        self.wait()
        for name, begin, end in marks:
            timeline.tally(name, self._context.elapsed_ns(begin, end), clock="cuda-event")
        self._forget(marks)

    def _forget(self, marks: list[tuple[str, int, int]]) -> None:
        for _, begin, end in marks:
            self._context.event_destroy(begin)
            self._context.event_destroy(end)


def _destroy(context: CardContext, pointer: int) -> None:
    with suppress(ProviderError):
        context.stream_destroy(pointer)


def stream_pointer(stream: object) -> int:
    """Return the address of a CUDA stream.

    Parameters
    ----------
    stream : int or object
        An address, or a stream of CuPy, PyTorch, Numba or any library with `__cuda_stream__`.

    Raises
    ------
    OptionError
        It is none, or the default stream.
    """
    found: Any = None if isinstance(stream, bool) else stream
    if hasattr(stream, "__cuda_stream__"):
        found = stream.__cuda_stream__()[1]
    elif not isinstance(stream, Integral):
        found = next((getattr(stream, name) for name in _HANDLES if hasattr(stream, name)), None)
    found = getattr(found, "value", found)
    if not isinstance(found, Integral) or not 0 <= int(found) < 1 << 64:
        raise OptionError("stream", stream, "a CUDA stream: its address, or a stream of CuPy or PyTorch")
    if found == 0:
        raise OptionError(
            "stream", stream, "a stream of its own, such as cupy.cuda.Stream(); without one, work keeps order with the "
            "default stream anyway"
        )  # fmt: skip
    return int(found)


def open_queue(backend: Backend, stream: object = None) -> WorkQueue:
    """Return where a backend's work is enqueued: on the caller's stream, else on one of its own.

    Parameters
    ----------
    backend : Backend
        Its `stream` counts where `stream` is not given.
    stream : object, optional
        As for :func:`stream_pointer`.

    Raises
    ------
    OptionError, ProviderError
    """
    pointer = backend.stream if stream is None else stream_pointer(stream)
    driver = read_driver()
    # Without a driver or with a wrong number the session says what is wrong, better than this could.
    if not takes_stream(backend) or driver.problem or backend.device_id >= len(driver.cards):
        return HostQueue(backend.device_id)
    return CudaStream(backend.device_id, pointer, stream)


def takes_stream(backend: Backend) -> bool:
    """Return whether a provider enqueues on a stream that it is given."""
    return backend.shares_memory


def open_queues(backends: Sequence[Backend], stream: object = None) -> list[WorkQueue]:
    """Return a queue for each backend; those on the same card share one.

    Parameters
    ----------
    backends : sequence of Backend
    stream : object, optional
        As for :func:`stream_pointer`.

    Raises
    ------
    OptionError
        A stream is given, and none of the backends is on a card, or they are on several.
    """
    cards = {backend.device_id for backend in backends if takes_stream(backend)}
    if stream is not None and len(cards) != 1:
        where = " and ".join(str(backend) for backend in backends)
        raise OptionError("stream", stream, f"no stream, or both parts on one card with cuda or tensorrt, not {where}")
    made: dict[tuple[int, int], WorkQueue] = {}
    queues: list[WorkQueue] = []
    for backend in backends:
        if not takes_stream(backend):
            queues.append(HostQueue(backend.device_id))
            continue
        key = (backend.device_id, backend.stream)
        if key not in made:
            made[key] = open_queue(backend, stream)
        queues.append(made[key])
    return queues
