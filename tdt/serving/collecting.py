"""Which of the clips and windows that wait share the next run of the encoder: decisions only, no clock, no threads."""

from __future__ import annotations

from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from tdt.longform import like_length

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tdt.longform import BatchRule


class Entry(Protocol):
    """A clip, or a window of a long recording, that waits."""

    @property
    def request(self) -> object:
        """Whose it is."""
        ...

    @property
    def seconds(self) -> float:
        """Its length."""
        ...

    @property
    def arrived(self) -> float:
        """Since when it waits, by the clock of whoever collects."""
        ...

    @property
    def gone(self) -> bool:
        """Whether nobody wants its result any more."""
        ...


# Batches of turns from which entries of like length are picked.
NEAR_BATCHES = 2
Item = TypeVar("Item", bound=Entry)


class Waiting(Generic[Item]):
    """What waits for the encoder, by request, in the order in which requests have their turn.

    A request whose entry has been taken goes behind all others: a recording of hours has one turn in so many, whatever
    it brings at once. The request whose turn it is is always part of the next batch, whatever its length.

    Parameters
    ----------
    rule : BatchRule
        How many, and how long, what shares a run may be.
    collect_seconds : float
        How long the first waits for company where the encoder has not been idle.
    """

    def __init__(self, rule: BatchRule, collect_seconds: float) -> None:
        self._rule = rule
        self._collect_seconds = collect_seconds
        self._lines: dict[object, list[Item]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def add(self, entry: Item) -> None:
        """Let an entry wait."""
        self._lines.setdefault(entry.request, []).append(entry)

    def wait_seconds(self, now: float, *, idle: bool) -> float | None:
        """Return how long to wait before :meth:`take`: 0 where a batch is due, None where nothing waits.

        A batch is due at once where the encoder has been idle or no more would fit; else when the first entry has
        waited for its time.
        """
        self._forget_gone()
        if not self._lines:
            return None
        if idle or len(self) >= self._rule.most:
            return 0.0
        return max(0.0, min(entry.arrived for entry in self._all()) + self._collect_seconds - now)

    def take(self) -> list[Item]:
        """Return the next batch, longest first; empty where nothing waits."""
        self._forget_gone()
        if not self._lines:
            return []
        head, *others = self._in_turn()
        batch = [head]
        # Of those whose turn is near, the nearest in length first, so that little of a run is padding. Of all that
        # wait, lengths that are rare would wait for ever longer behind those that are not.
        near = others[: NEAR_BATCHES * self._rule.most]
        for entry in sorted(near, key=lambda entry: abs(entry.seconds - head.seconds)):
            lengths = [one.seconds for one in (*batch, entry)]
            if self._rule.takes(len(lengths), max(lengths)) and like_length(max(lengths), min(lengths)):
                batch.append(entry)
        for entry in batch:
            self._remove(entry)
        return sorted(batch, key=lambda entry: -entry.seconds)

    def _in_turn(self) -> Iterator[Item]:
        """Yield the first entry of each request, then the second of each that has one, and so on."""
        return (entry for entry in chain.from_iterable(zip_longest(*self._lines.values())) if entry is not None)

    def _all(self) -> Iterator[Item]:
        return chain.from_iterable(self._lines.values())

    def _remove(self, entry: Item) -> None:
        line = self._lines.pop(entry.request)
        line.remove(entry)
        if line:
            self._lines[entry.request] = line  # behind all others

    def _forget_gone(self) -> None:
        kept = {request: [entry for entry in line if not entry.gone] for request, line in self._lines.items()}
        self._lines = {request: line for request, line in kept.items() if line}
