"""Whether the compiled code can be had: the check before the first import of a kernel."""

from __future__ import annotations

from tdt.errors import BrokenDependencyError


def require_compiler() -> None:
    """Refuse to go on where Numba cannot be imported or does not compile.

    Raises
    ------
    BrokenDependencyError
    """
    try:
        from tdt.kernels.vector.jit import can_compile
    except (ImportError, AttributeError, OSError, RuntimeError, SystemError) as error:
        raise BrokenDependencyError("numba", f"{type(error).__name__}: {error}") from error
    if not can_compile():
        raise BrokenDependencyError(
            "numba", "NUMBA_DISABLE_JIT turns its compiler off, and the kernels are compiled code", "Unset it."
        )
