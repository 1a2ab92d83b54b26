"""A batch in several runs: in two halves where a card has no room for it, and what the runs give put together."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tdt.errors import DeviceMemoryError
from tdt.runtime import DeviceArray

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tdt.stages import Float32, Int64

T = TypeVar("T")

_log = logging.getLogger("tdt")


def halves(rows: Int64) -> list[Int64]:
    """Return two or more rows in two parts, the first not the smaller."""
    middle = (len(rows) + 1) // 2
    return [rows[:middle], rows[middle:]]


def run_fitting(groups: Sequence[Int64], run: Callable[[Int64], T], freed: Callable[[], None]) -> list[tuple[Int64, T]]:
    """Run groups of rows; one that the memory does not suffice for, in halves.

    Parameters
    ----------
    groups : sequence of ndarray
    run : callable
        Runs rows of the batch.
    freed : callable
        Called where the memory did not suffice: gives back what can be spared.

    Returns
    -------
    list of (ndarray, result)
        The rows of each run.

    Raises
    ------
    DeviceMemoryError
        Where a half, or a single row, does not fit either.
    """
    done: list[tuple[Int64, T]] = []
    for rows in groups:
        try:
            done.append((rows, run(rows)))
            continue
        except DeviceMemoryError as error:
            if len(rows) == 1:
                raise
            _log.warning("%d clips do not fit the card at once, now in two runs: %s", len(rows), error)
        freed()
        done += [(part, run(part)) for part in halves(rows)]
    return done


def scatter(parts: Sequence[tuple[Int64, Any]], place: int, counts: Int64, width: int) -> Float32:
    """Put the arrays at one place of each run's results into the rows they belong to, padded with zeros.

    Parameters
    ----------
    parts : sequence of (ndarray, sequence of arrays)
        Rows of each run, and what it gave.
    place : int
        Which of the arrays.
    counts : ndarray
        Frames of every row of the batch.
    width : int
        Numbers of a frame.
    """
    out = np.zeros((len(counts), int(counts.max(initial=0)), width), np.float32)
    for rows, taken in parts:
        array = np.asarray(taken[place])
        span = min(array.shape[1], out.shape[1])
        out[rows, :span] = array[:, :span]
    return out


def crop(array: Any, counts: Int64) -> Any:
    """Cut a host array to the longest utterance; a device array keeps its padding."""
    if array is None or isinstance(array, DeviceArray):
        return array
    return np.ascontiguousarray(array[:, : int(counts.max(initial=0))])
