"""When a decoder asks for help: what its helpers and its own clock have said so far; pure, time is handed in."""

from __future__ import annotations

import threading
from typing import NamedTuple

# Seconds: the first rest after a helper found its core taken, the longest (each is twice the one before), how long all
# must have gone well for the next to be short again, and how often help is compared with none.
FIRST_REST, LONGEST_REST, GONE_WELL, COMPARED_EVERY = 0.05, 2.0, 0.25, 1.0
# Help must take less than this share of what is taken alone, or it is not worth a core.
WORTH = 0.97
TIMED_PRODUCTS, LEAST_TIMED = 64, 12
PATIENT = 3


class Timed(NamedTuple):
    """Products that were timed: how many, their ticks, their size in weights."""

    products: int
    ticks: int
    size: int


class HelpPolicy:
    """Decides whether to ask for help. Several threads may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until = self._rest = self._compared = 0.0

    def wanted(self, now: float) -> bool:
        """Say whether to ask for help."""
        return now >= self._until

    def sleeps(self) -> int:
        """Return how often a helper may sleep, where its core does something else, before it leaves."""
        return 0 if self._rest else PATIENT

    def products_to_time(self, now: float) -> int:
        """Return how many products of a call are to be timed, alone and with help in turn."""
        with self._lock:
            if now - self._compared < COMPARED_EVERY and self._compared:
                return 0
            self._compared = now
            return TIMED_PRODUCTS

    def left(self, now: float) -> None:
        """Take into account that a helper has left: its core does something else."""
        with self._lock:
            went_well = now - self._until > GONE_WELL
            self._rest = FIRST_REST if went_well or not self._rest else min(2 * self._rest, LONGEST_REST)
            self._until = now + self._rest

    def went_well(self, now: float) -> None:
        """Take into account that a call with help has ended without trouble."""
        with self._lock:
            if now - self._until > GONE_WELL:
                self._rest = 0.0

    def compared(self, now: float, alone: Timed, helped: Timed) -> None:
        """Take into account what products took, alone and with help."""
        if min(alone.products, helped.products) < LEAST_TIMED:
            return
        if helped.ticks / helped.size > WORTH * alone.ticks / alone.size:
            self.left(now)
