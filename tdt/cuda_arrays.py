"""Arrays that other libraries hold on a CUDA device, taken as CuPy arrays without a copy."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tdt.dependencies import extra
from tdt.errors import AudioValueError

if TYPE_CHECKING:
    from collections.abc import Iterator

_DLPACK_CUDA = 2


def on_device(array: object) -> bool:
    """Return whether `array` lies on a CUDA device; it may be of any library that speaks DLPack."""
    locate = getattr(array, "__dlpack_device__", None)
    if locate is None:
        return hasattr(array, "__cuda_array_interface__")
    return int(locate()[0]) == _DLPACK_CUDA


def fetched(array: Any) -> Any:
    """Return an array on the host, copied there where it is CuPy's or one of ours on a card."""
    import numpy as np

    return np.asarray(array.get() if hasattr(array, "get") else array)


def require_cupy() -> Any:
    """Return the module CuPy.

    Raises
    ------
    MissingDependencyError
        It is not installed.
    """
    with extra("cupy", "Audio or features on a CUDA device", 'pip install "parakeet-tdt[cuda13]" (or [cuda12])'):
        import cupy
    return cupy


def as_cupy(array: Any) -> Any:
    """Return a device array as a CuPy array that shares its memory, ready on the current stream.

    Raises
    ------
    AudioValueError
        The array cannot be shared.
    MissingDependencyError
        CuPy is not installed.
    """
    cupy = require_cupy()
    if isinstance(array, cupy.ndarray):
        return array
    try:
        return cupy.from_dlpack(array) if hasattr(array, "__dlpack__") else cupy.asarray(array)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise AudioValueError(
            f"A device array of type {type(array).__name__} cannot be shared ({error}); a dense array that exports "
            "DLPack is expected. Copy it to the host first."
        ) from error


class _Shared:
    """A stream of which CuPy is told the address, by the protocol of CUDA's Python libraries."""

    def __init__(self, address: int) -> None:
        self._address = address

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self._address

    def of(self, cuda: Any, device: int) -> Any:
        """Return CuPy's stream; CuPy before 14 does not know the protocol and is told the address alone."""
        if hasattr(cuda.Stream, "from_external"):
            return cuda.Stream.from_external(self)
        return cuda.ExternalStream(self._address, device)


@contextmanager
def enqueue_on(stream: int, device: int) -> Iterator[None]:
    """Let CuPy enqueue on a stream, after what it has enqueued on the current one so far.

    Parameters
    ----------
    stream : int
        Address of the stream; 0 leaves the current one.
    device : int
        The card of the stream, and the current one.
    """
    cuda = require_cupy().cuda
    if not stream or cuda.get_current_stream().ptr == stream:
        yield
        return
    shared = _Shared(stream).of(cuda, device)
    shared.wait_event(cuda.get_current_stream().record())
    with shared:
        yield
