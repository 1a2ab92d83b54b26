"""The typed door to Numba: the only module that names compiler flags."""

from __future__ import annotations

from typing import Any, ParamSpec, Protocol, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R", covariant=True)


class Compiled(Protocol[P, R]):
    """A compiled function: called like the Python function it was made from, which stays at `py_func`."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the machine code, compiling it first for a new signature."""
        ...


def njit(function: Any) -> Any:
    """Compile `function` to machine code: cached on disk, without the interpreter lock, strict IEEE arithmetic.

    Parameters
    ----------
    function : callable
        A function of arrays and scalars in Numba's subset of Python.

    Returns
    -------
    callable
        The dispatcher; `py_func` holds the original.
    """
    return cast("Compiled[Any, Any]", numba.njit(cache=True, nogil=True, error_model="numpy")(function))


def njit_fast(function: Any) -> Any:
    """Compile like :func:`njit`, and let sums be reordered so that they vectorise.

    NaN and infinity keep their meaning (`nnan` and `ninf` are not granted); only association and contraction are free.
    """
    flags = {"reassoc", "contract", "nsz"}
    return cast("Compiled[Any, Any]", numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=flags)(function))


def inline(function: Any) -> Any:
    """Compile a leaf helper that LLVM inlines into its callers; not cached apart from them."""
    return cast("Compiled[Any, Any]", numba.njit(nogil=True, error_model="numpy", inline="never")(function))
