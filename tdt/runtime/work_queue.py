"""What stages enqueue their work on, whatever it is: and the simplest of it, which does each thing at once."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tdt.timeline import NULL, Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from tdt.runtime.device import DeviceArray
    from tdt.runtime.session import Binding

    Array = npt.NDArray[Any]
    Stage = Callable[[str], AbstractContextManager[None]]


class Placed(Protocol):
    """An array at an address on the card."""

    @property
    def pointer(self) -> int:
        """Address."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Dimensions."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type."""
        ...


class WorkQueue(Protocol):
    """Where the stages on one device enqueue their work."""

    @property
    def pointer(self) -> int:
        """The CUDA stream, as an address; 0 where each run waits by itself."""
        ...

    @property
    def device_id(self) -> int:
        """The card."""
        ...

    def put(self, target: DeviceArray, array: Array) -> None:
        """Copy a host array of the same shape to the device."""
        ...

    def put_padded(self, target: DeviceArray, array: Array) -> None:
        """Copy a host array to the start of the target's last axis, zeros after it; it may change at once."""
        ...

    def pad(self, target: DeviceArray, source: DeviceArray, columns: int) -> None:
        """Copy the first `columns` of the last axis on the device, zeros after them."""
        ...

    def run(self, binding: Binding, *, more: bool = False) -> None:
        """Run a session; `more` runs of the same session follow, and only the last one has to be waited for."""
        ...

    def read(self, source: DeviceArray) -> Array:
        """Return a host array that holds a copy after the next :meth:`wait`."""
        ...

    def wait(self) -> None:
        """Wait until all that was enqueued is done."""
        ...

    def work(self, timeline: Recorder = NULL) -> AbstractContextManager[Stage]:
        """Return a context at whose end all is done; it gives a function that opens a named stage inside."""
        ...


class HostQueue:
    """Does everything at once: for memory on the host, and for providers that take no stream.

    Parameters
    ----------
    device_id : int, optional
    """

    __slots__ = ("device_id",)
    pointer = 0

    def __init__(self, device_id: int = 0) -> None:
        self.device_id = device_id

    def put(self, target: DeviceArray, array: Array) -> None:
        """Copy now."""
        target.copy_from(array)

    def put_padded(self, target: DeviceArray, array: Array) -> None:
        """Copy now."""
        host = np.zeros(target.shape, target.dtype)
        host[..., : array.shape[-1]] = array
        target.copy_from(host)

    def pad(self, target: DeviceArray, source: DeviceArray, columns: int) -> None:
        """Copy now."""
        self.put_padded(target, source.numpy()[..., :columns])

    def run(self, binding: Binding, *, more: bool = False) -> None:  # noqa: ARG002
        """Run now."""
        binding.run()

    def read(self, source: DeviceArray) -> Array:
        """Copy now."""
        return source.numpy()

    def wait(self) -> None:
        """Do nothing: all is done."""

    @contextmanager
    def work(self, timeline: Recorder = NULL) -> Iterator[Stage]:
        """Time each stage by the host's clock: it has waited when the stage ends."""
        yield lambda name: timeline.span(name, clock="host+sync")
