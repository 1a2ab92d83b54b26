"""Arrays that other libraries hold on a CUDA device, taken as CuPy arrays without a copy."""

from __future__ import annotations

from typing import Any

from tdt.errors import AudioValueError, MissingDependencyError

_DLPACK_CUDA = 2


def on_device(array: object) -> bool:
    """Return whether `array` lies on a CUDA device; it may be of any library that speaks DLPack."""
    locate = getattr(array, "__dlpack_device__", None)
    if locate is None:
        return hasattr(array, "__cuda_array_interface__")
    return int(locate()[0]) == _DLPACK_CUDA


def require_cupy() -> Any:
    """Return the module CuPy.

    Raises
    ------
    MissingDependencyError
        It is not installed.
    """
    try:
        import cupy
    except ImportError as error:
        raise MissingDependencyError(
            "cupy", "Audio or features on a CUDA device", 'pip install "parakeet-tdt[cuda13]" (or [cuda12])'
        ) from error
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
