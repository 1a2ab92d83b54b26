"""What options and arguments may be, said once: a check hands back the value in its plain type, or refuses it.

Whole numbers and numbers are those of Python and NumPy; booleans are none, nor are NaN, infinity, texts and arrays. All
refuse with :class:`~tdt.errors.OptionError`. Checks stand where a call begins, before audio is read or a model run.
"""

from __future__ import annotations

import numbers
import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from tdt.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")


class Bounds(NamedTuple):
    """The least and the most that an option may be, and in what."""

    least: float
    most: float
    unit: str = ""


# Options of several calls and commands. Further bounds depend on the model or the source.
WHOLE = {
    "sample_rate": Bounds(1000, 1_000_000, "samples a second"),
    "channel": Bounds(0, 1023),
    "track": Bounds(0, 1023),
    "batch_size": Bounds(1, 4096),
    "max_memory_bytes": Bounds(1 << 20, 1 << 44, "bytes"),
    "jobs": Bounds(1, 256),
    "threads": Bounds(1, 256),
    "max_symbols": Bounds(1, 10_000),
}
SECONDS = {"chunk_seconds": Bounds(2, 86_400, "seconds"), "context_seconds": Bounds(0, 86_400, "seconds")}


def whole_option(name: str, value: object) -> int | None:
    """Return an option of :data:`WHOLE`; None stays None."""
    return None if value is None else whole_number(name, value, *WHOLE[name])


def seconds_option(name: str, value: object) -> float | None:
    """Return an option of :data:`SECONDS`; None stays None."""
    return None if value is None else number(name, value, *SECONDS[name])


def whole_number(name: str, value: object, least: float, most: float, unit: str = "") -> int:
    """Return a whole number from `least` to `most`."""
    plain = _whole(value)
    if plain is None or not least <= plain <= most:
        raise OptionError(name, value, f"a whole number from {least} to {most}{' ' + unit if unit else ''}")
    return plain


def number(name: str, value: object, least: float, most: float, unit: str = "") -> float:
    """Return a number from `least` to `most`."""
    plain: float | None = _whole(value)
    if plain is None and isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral):
        plain = float(value)
    if plain is None or not least <= plain <= most:
        raise OptionError(name, value, f"a number from {least:g} to {most:g}{' ' + unit if unit else ''}")
    return float(plain)


def _whole(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        return None
    try:
        return operator.index(value)
    except TypeError:  # NumPy's time spans pass for whole numbers
        return None


def one_of(name: str, value: object, words: Sequence[str]) -> None:
    """Refuse what is none of some words."""
    if not isinstance(value, str) or value not in words:
        raise OptionError(name, value, "one of " + ", ".join(words))


def instance(name: str, value: object, kind: type[T], expected: str = "") -> T:
    """Return an object of a class."""
    if isinstance(value, kind):
        return value
    raise OptionError(name, value, expected or f"a {kind.__name__}")


def items(name: str, value: Any, expected: str) -> list[Any]:
    """Return what an iterable holds; texts, bytes, mappings and types are none here."""
    plain = isinstance(value, (str, bytes, bytearray, memoryview, Mapping, type))
    try:
        listed = None if plain else list(value)
    except TypeError:  # not iterable, or an array without axes
        listed = None
    if listed is None:
        raise OptionError(name, value, expected)
    return listed


def array(name: str, value: Any, kinds: str, axes: str, *, device: bool = False) -> Any:
    """Return an array as it is.

    Parameters
    ----------
    name : str
    value : object
    kinds : str
        The kinds of its type, as in :attr:`numpy.dtype.kind`: "f" for floats, "iu" for whole numbers.
    axes : str
        How errors write its shape: axes separated by commas.
    device : bool
        Whether it may lie elsewhere than in host memory, in an object that has a shape and a type.
    """
    import numpy as np

    expected = f"an array [{axes}] of {'floats' if kinds == 'f' else 'whole numbers'}"
    said = hasattr(value, "shape") and (hasattr(value, "dtype") or hasattr(value, "__dlpack__"))
    elsewhere = device and said and not isinstance(value, np.generic)
    if not isinstance(value, np.ndarray) and not elsewhere:
        raise OptionError(name, f"an object of type {type(value).__name__}", expected)
    dtype = getattr(value, "dtype", None)  # DLPack tells it with the memory only, to whoever takes that
    kind = dtype.kind if isinstance(dtype, np.dtype) else str(dtype).rpartition(".")[2][:1] if dtype else kinds[0]
    if len(value.shape) != axes.count(",") + 1 or kind not in kinds:
        raise OptionError(name, f"{dtype} of shape {tuple(value.shape)}", expected)
    return value


def on_host(name: str, value: Any) -> Any:
    """Return an array as one of NumPy's."""
    import numpy as np

    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise OptionError(
            name, f"an object of type {type(value).__name__}", f"an array on the host ({error})"
        ) from error
