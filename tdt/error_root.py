"""The root of all errors, and how an error goes from one process to another."""

from __future__ import annotations

from typing import Any

# Attributes that OSError and ImportError keep beside an instance's dictionary.
_HIDDEN = ("errno", "strerror", "filename", "filename2", "name", "path")


class TdtError(Exception):
    """Root of all errors of this package."""

    def __reduce__(self) -> tuple[object, ...]:
        # Otherwise an exception is made anew from its message alone, which a constructor that takes facts refuses.
        hidden = {name: getattr(self, name, None) for name in _HIDDEN}
        state = {name: value for name, value in hidden.items() if value is not None} | self.__dict__
        return _remade, (type(self), self.args), state


def _remade(kind: type[TdtError], args: tuple[object, ...]) -> TdtError:
    """Return an error of a kind as it was, past its constructor."""
    # By the base that decides what an instance looks like: ValueError cannot make what is an OSError, too.
    maker: Any = kind
    while "__new__" not in vars(maker):
        maker = maker.__base__
    error: TdtError = maker.__new__(kind)
    error.args = args
    return error
