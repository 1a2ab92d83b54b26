"""Where one shard ends and the next begins: a function of the input alone, so that any run makes the same files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tdt.checks import number, whole_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tdt.corpus.items import Pack

SHARD_ITEMS = 256
SHARD_SECONDS = 14_400.0
MOST_SHARD_ITEMS = 1_000_000


@dataclass(frozen=True, slots=True)
class ShardRule:
    """How much a shard holds at most: so many items, and so many seconds of sound where the input says how long it is.

    An item longer than that is a shard of its own. No shard holds items of two input files, so that a file that is
    added behind the others shifts none of them.

    Raises
    ------
    OptionError
        A number that cannot be used.
    """

    items: int = SHARD_ITEMS
    seconds: float = SHARD_SECONDS

    def __post_init__(self) -> None:
        object.__setattr__(self, "items", whole_number("shard_items", self.items, 1, MOST_SHARD_ITEMS))
        object.__setattr__(self, "seconds", number("shard_seconds", self.seconds, 1, 1e9, "seconds"))

    def cuts(self, lengths: Sequence[float | None]) -> list[int]:
        """Return where parts of at most so many items and seconds end.

        Parameters
        ----------
        lengths : sequence of float or None
            Seconds of each item; what is unknown counts as none.

        Examples
        --------
        >>> ShardRule(3, 10.0).cuts([4.0, 4.0, 4.0, 25.0, None, 1.0, 1.0, 1.0])
        [2, 3, 4, 7, 8]
        """
        if len(lengths) <= self.items and sum(filter(None, lengths)) <= self.seconds:
            return [len(lengths)] if lengths else []
        ends: list[int] = []
        items, seconds = 0, 0.0
        for place, length in enumerate(lengths):
            more = length or 0.0
            if items and (items >= self.items or seconds + more > self.seconds):
                ends.append(place)
                items, seconds = 0, 0.0
            items, seconds = items + 1, seconds + more
        return [*ends, len(lengths)]


@dataclass(frozen=True, slots=True)
class Shard:
    """A pack with its place in the output."""

    number: int
    pack: Pack

    @property
    def name(self) -> str:
        """Its file's name, without the ending."""
        return f"part-{self.number:05d}"


def numbered(packs: Iterable[Pack]) -> Iterator[Shard]:
    """Yield a shard for each pack, in order, as they come."""
    return (Shard(number, pack) for number, pack in enumerate(packs))
