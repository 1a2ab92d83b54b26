"""Which clips share a run: pure decisions about order and size."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

BATCH_SIZE = 8
# Attention takes memory with the square of the length: this many clips of this many seconds at most, or as much.
FULL_BATCH_SECONDS = 30.0
# A clip joins a batch whose longest is at most so much longer: what is padding costs as much as speech.
PADDING_SHARE = 0.25
PADDING_SECONDS = 0.5
# Clips read ahead, so that those of like length can be found, and the audio held in memory meanwhile.
WINDOW_BATCHES = 4
WINDOW_SECONDS = 1800.0


def plan_batches(seconds: Sequence[float], batch_size: int | None = None) -> list[list[int]]:
    """Group clips of like length, longest first, so that little of a batch is padding.

    Parameters
    ----------
    seconds : sequence of float
        Length of each clip.
    batch_size : int, optional
        Most clips to a batch; by default up to 8, fewer where the clips are longer than 30 s. Clips much shorter than
        the longest start a batch of their own.

    Returns
    -------
    list of list of int
        Indices into `seconds`; each occurs once.

    Examples
    --------
    >>> plan_batches([1.0, 30.0, 1.5, 29.0, 31.0], batch_size=2)
    [[4, 1], [3], [2, 0]]
    """
    budget = BATCH_SIZE * FULL_BATCH_SECONDS**2
    batches: list[list[int]] = []
    longest = 0.0
    for index in sorted(range(len(seconds)), key=lambda index: -seconds[index]):
        count = len(batches[-1]) + 1 if batches else 1
        fits = count <= batch_size if batch_size else count <= BATCH_SIZE and count * longest**2 <= budget
        fits = fits and longest - seconds[index] <= max(PADDING_SHARE * longest, PADDING_SECONDS)
        if batches and fits:
            batches[-1].append(index)
        else:
            batches.append([index])
            longest = seconds[index]
    return batches


def window_size(batch_size: int | None) -> int:
    """Return how many clips to read ahead."""
    return WINDOW_BATCHES * (batch_size or BATCH_SIZE)
