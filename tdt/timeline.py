"""Where the time goes: spans and tallies that the stages record, and a null object that costs nothing."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

_NOTHING: AbstractContextManager[None] = nullcontext()


class Recorder(Protocol):
    """What a stage needs of a timeline."""

    def span(self, name: str) -> AbstractContextManager[None]:
        """Time a block under `name`."""
        ...

    def tally(self, name: str, total_ns: int, count: int = 1) -> None:
        """Add `count` events that took `total_ns` together."""
        ...


class _Null:
    """Records nothing."""

    __slots__ = ()

    def span(self, name: str) -> AbstractContextManager[None]:  # noqa: ARG002
        """Return a shared context manager that does nothing."""
        return _NOTHING

    def tally(self, name: str, total_ns: int, count: int = 1) -> None:
        """Do nothing."""


NULL: Recorder = _Null()
