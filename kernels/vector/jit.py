"""The typed door to Numba: the only module that names compiler flags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, cast

import numba
import numba.extending
from numba import types

from .code_cache import CodeCache

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)


__all__ = [
    "Compiled",
    "by_type",
    "can_compile",
    "cpu_features",
    "expand",
    "host_features",
    "inline",
    "intrinsic",
    "njit",
    "njit_fast",
    "tell_compiling",
    "types",
    "watch_compiling",
]


class Compiled(Protocol[P, R_co]):
    """A compiled function: called like the Python function it was made from, which stays at `py_func`."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
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
    return _kept(numba.njit(nogil=True, error_model="numpy")(function))


def njit_fast(function: Any) -> Any:
    """Compile like :func:`njit`, and let sums be reordered so that they vectorise.

    NaN and infinity keep their meaning (`nnan` and `ninf` are not granted); only association and contraction are free.
    """
    flags = {"reassoc", "contract", "nsz"}
    return _kept(numba.njit(nogil=True, error_model="numpy", fastmath=flags)(function))


def _kept(dispatcher: Any) -> Any:
    """Keep what a dispatcher compiles; as `cache=True` does, but in places of our own choice."""
    if can_compile():
        dispatcher._cache = CodeCache(dispatcher.py_func)
    return cast("Compiled[Any, Any]", dispatcher)


def can_compile() -> bool:
    """Say whether Numba compiles at all: NUMBA_DISABLE_JIT leaves functions as they are."""
    return not numba.config.DISABLE_JIT


def inline(function: Any) -> Any:
    """Compile a leaf helper that LLVM inlines into its callers; not cached apart from them."""
    return cast("Compiled[Any, Any]", numba.njit(nogil=True, error_model="numpy", inline="never")(function))


def expand(function: Any) -> Any:
    """Put a helper's body in the place of each call before anything is compiled.

    A function that is compiled apart optimises anew all that is called from it, down to the last kernel: thin layers
    over much code are cheaper this way.
    """
    return cast("Compiled[Any, Any]", numba.njit(nogil=True, error_model="numpy", inline="always")(function))


def by_type(function: Any, mark: type) -> Callable[[Any], Any]:
    """Let calls of a stub of three arguments, the first a `mark`, an empty named tuple, go to the decorated function.

    It gets the other two. What is shared by several users, each with a function of its own, can so be compiled for
    each: a function that is handed on as a value cannot be kept on disk.
    """

    def register(implementation: Any) -> Any:
        compiled = inline(implementation)

        def choose(given: Any, a: Any, b: Any) -> Any:  # noqa: ARG001  the types of the arguments
            if isinstance(given, types.BaseNamedTuple) and given.instance_class is mark:
                return lambda given, a, b: compiled(a, b)  # noqa: ARG005  Numba wants the same names
            return None

        options = {"nogil": True, "error_model": "numpy"}
        numba.extending.overload(function, jit_options=options, strict=False)(choose)
        return compiled

    return register


def intrinsic(function: Any) -> Any:
    """Make an LLVM code generator callable from compiled functions (see `numba.extending.intrinsic`)."""
    return numba.extending.intrinsic(function)


def cpu_features(context: Any) -> frozenset[str]:
    """Return the instruction sets that the code now being generated may use, such as "avx2" or "avx512vnni".

    Parameters
    ----------
    context : numba target context
        As handed to the code generator of an intrinsic.
    """
    listed: str = context.codegen()._tm_features
    return frozenset(name[1:] for name in listed.split(",") if name.startswith("+"))


def host_features() -> frozenset[str]:
    """Return the instruction sets that Numba compiles for in this process."""
    from numba.core.registry import cpu_target

    return cpu_features(cpu_target.target_context)


def tell_compiling(begin: Callable[[], object], end: Callable[[], object]) -> None:
    """Have a function called before a thread takes a lock of Numba's compiler, or of LLVM, and one when it is open.

    Whatever they raise, the thread goes no further. A call of a compiled function takes none, but for the first one
    with new types: also where the code is fetched from the disk.
    """
    from numba.core import event

    class Told(event.Listener):  # type: ignore[misc]
        def on_start(self, _event: Any) -> None:
            begin()

        def on_end(self, _event: Any) -> None:
            end()

    for kind in ("numba:compiler_lock", "numba:llvm_lock"):
        event.register(kind, Told())


def watch_compiling() -> Callable[[], float]:
    """Return a function that tells the seconds spent compiling since this call; reading a cache is not compiling."""
    from numba.core import event

    listener = event.TimingListener()
    event.register("numba:compile", listener)
    return lambda: float(listener.duration) if listener.done else 0.0
