"""Whatever goes wrong with one input becomes a typed error of that input, so that the others go on.

Where several inputs are under way, nothing else is caught: no list of kinds is complete for what file objects, decoders
and libraries raise. What ends the program (Ctrl-C, the end of the interpreter) passes.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, TypeVar

from tdt.errors import AudioReadError, TdtError, UnexpectedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

T = TypeVar("T")
Doing = Literal["reading", "transcribing"]

_log = logging.getLogger("tdt")
_MOST_CHARACTERS = 300


def outcome(work: Callable[[], T], name: str, doing: Doing = "transcribing") -> T | TdtError:
    """Return what a function returns, or why it failed.

    Parameters
    ----------
    work : callable
    name : str
        What errors call the input.
    doing : {"reading", "transcribing"}
        What it does with it.
    """
    try:
        return work()
    except Exception as error:  # noqa: BLE001  becomes the input's own error
        return as_typed(error, name, doing)


@contextmanager
def typed(name: str, doing: Doing = "transcribing") -> Iterator[None]:
    """Raise whatever a block raises as a typed error of the input `name`."""
    try:
        yield
    except TdtError:
        raise
    except Exception as error:
        made = as_typed(error, name, doing)
        raise made from error


def as_typed(error: Exception, name: str, doing: Doing = "transcribing") -> TdtError:
    """Return an error of this package as it is, and any other as one of its kinds, with the cause kept and logged."""
    if isinstance(error, TdtError):
        return error
    _log.debug("%s: an error in %s it", name, doing, exc_info=error)
    problem = _described(error)
    if doing == "reading":
        made: TdtError = AudioReadError(
            f"{name} cannot be read: {problem}. A readable sound file, open binary file or array was expected: check "
            "it, and pass it again."
        )
    else:
        made = UnexpectedError(name, problem)
    made.__cause__ = error
    return made


class Alone:
    """A block of work for one input: what goes wrong in it is told, and the others go on.

    Parameters
    ----------
    name : str
        What errors call the input.
    tell : callable
        Takes the error.
    passing : tuple of exception classes
        What concerns all inputs, and passes.
    """

    def __init__(
        self, name: str, tell: Callable[[Exception], object], passing: tuple[type[Exception], ...] = ()
    ) -> None:
        self._name, self._tell, self._passing = name, tell, passing

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception) or isinstance(error, self._passing):
            return False
        self._tell(error if isinstance(error, OSError) else as_typed(error, self._name))
        return True


def _described(error: Exception) -> str:
    """Return kind and text of an error in a line."""
    try:
        text = " ".join(str(error).split()).strip(" .")
    except Exception:  # noqa: BLE001  its own text fails, too
        text = ""
    kind = "out of memory" if isinstance(error, MemoryError) else type(error).__name__
    return f"{kind}: {text}"[:_MOST_CHARACTERS] if text else kind
