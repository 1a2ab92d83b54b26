"""Counting what a run does, in compiled code."""

from __future__ import annotations

from typing import Any

from ..vector.jit import inline
from ..vector.memory import get_int, set_int
from . import task as f


@inline
def count_up(task: Any, place: int, amount: int) -> None:
    """Add to a counter."""
    set_int(task[f.COUNTERS], place, get_int(task[f.COUNTERS], place) + amount)
