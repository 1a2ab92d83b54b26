"""Which clips share a run: pure decisions about order and size."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BATCH_SIZE = 8
# Attention takes memory with the square of the length: this many clips of this many seconds at most, or as much.
FULL_BATCH_SECONDS = 30.0
# A clip joins a batch whose longest is at most so much longer: what is padding costs as much as speech.
PADDING_SHARE = 0.25
PADDING_SECONDS = 0.5
# Clips read ahead, so that those of like length can be found, and the audio held in memory meanwhile.
WINDOW_BATCHES = 4
WINDOW_SECONDS = 1800.0


def _usual(clips: int, longest: float) -> bool:
    return clips * longest**2 <= BATCH_SIZE * FULL_BATCH_SECONDS**2


class BatchRule(NamedTuple):
    """How large a batch may become.

    Parameters
    ----------
    most : int
        Clips, however short they are.
    fits : callable
        Whether the memory holds so many clips, the longest of so many seconds. One alone always may run.
    """

    most: int = BATCH_SIZE
    fits: Callable[[int, float], bool] = _usual

    @classmethod
    def of(cls, batch_size: int) -> BatchRule:
        """Return the rule of who wants this many clips in a batch, whatever their length."""
        return cls(batch_size, lambda *_: True)

    def takes(self, clips: int, longest: float) -> bool:
        """Say whether so many clips, the longest of so many seconds, may share a run."""
        return clips <= self.most and self.fits(clips, longest)

    def clips_of(self, seconds: float) -> int:
        """Return how many clips of a length share a run."""
        return max(1, sum(self.takes(clips, seconds) for clips in range(1, self.most + 1)))


USUAL = BatchRule()


def like_length(longest: float, shortest: float) -> bool:
    """Say whether clips from `shortest` to `longest` seconds may share a run: little of it is padding."""
    return longest - shortest <= max(PADDING_SHARE * longest, PADDING_SECONDS)


def plan_batches(seconds: Sequence[float], rule: BatchRule = USUAL) -> list[list[int]]:
    """Group clips of like length, longest first, so that little of a batch is padding.

    Parameters
    ----------
    seconds : sequence of float
        Length of each clip.
    rule : BatchRule, optional
        How many clips to a batch; by default up to 8, fewer where the clips are longer than 30 s. Clips much shorter
        than the longest start a batch of their own, whatever the rule.

    Returns
    -------
    list of list of int
        Indices into `seconds`; each occurs once.

    Examples
    --------
    >>> plan_batches([1.0, 30.0, 1.5, 29.0, 31.0], BatchRule.of(2))
    [[4, 1], [3], [2, 0]]
    """
    batches: list[list[int]] = []
    longest = 0.0
    for index in sorted(range(len(seconds)), key=lambda index: -seconds[index]):
        count = len(batches[-1]) + 1 if batches else 1
        if batches and rule.takes(count, longest) and like_length(longest, seconds[index]):
            batches[-1].append(index)
        else:
            batches.append([index])
            longest = seconds[index]
    return batches


def window_size(rule: BatchRule) -> int:
    """Return how many clips to read ahead."""
    return WINDOW_BATCHES * rule.most
