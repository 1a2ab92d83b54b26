"""A batch that a card has no room for is run in halves, once; what does not fit then is refused."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tdt.encoding.fitting import run_fitting
from tdt.errors import DeviceMemoryError, RunError

if TYPE_CHECKING:
    from tdt.stages import Int64


class Card:
    """Has room for so many rows; notes what runs."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.runs: list[list[int]] = []
        self.freed = 0

    def run(self, rows: Int64) -> list[int]:
        self.runs.append(rows.tolist())
        if len(rows) > self.room:
            raise DeviceMemoryError("A run", "cuda:0", len(rows), self.room, 100)
        return [10 * row for row in rows.tolist()]

    def free(self) -> None:
        self.freed += 1


def groups(*parts: list[int]) -> list[Int64]:
    return [np.array(part, np.int64) for part in parts]


def test_what_fits_runs_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    card = Card(4)
    done = run_fitting(groups([0, 1, 2, 3], [4]), card.run, card.free)
    assert [(rows.tolist(), out) for rows, out in done] == [([0, 1, 2, 3], [0, 10, 20, 30]), ([4], [40])]
    assert (card.freed, caplog.records) == (0, [])


@pytest.mark.parametrize("size", [2, 3, 7, 8])
def test_what_does_not_fit_runs_in_halves_and_is_logged(size: int, caplog: pytest.LogCaptureFixture) -> None:
    card = Card((size + 1) // 2)
    with caplog.at_level(logging.WARNING, logger="tdt"):
        done = run_fitting(groups(list(range(size)), [size]), card.run, card.free)
    assert [row for rows, _ in done for row in rows.tolist()] == list(range(size + 1))
    assert [out for _, outs in done for out in outs] == [10 * row for row in range(size + 1)]
    assert len(card.runs) == 4  # the whole, two halves, the next group
    assert card.freed == 1
    (record,) = caplog.records
    assert f"{size} clips do not fit the card at once" in record.getMessage()


def test_halves_that_do_not_fit_are_refused() -> None:
    card = Card(1)
    with pytest.raises(DeviceMemoryError):
        run_fitting(groups([0, 1, 2, 3]), card.run, card.free)
    assert card.runs == [[0, 1, 2, 3], [0, 1]]


def test_one_row_is_not_split() -> None:
    card = Card(0)
    with pytest.raises(DeviceMemoryError):
        run_fitting(groups([5]), card.run, card.free)
    assert card.runs == [[5]]


def test_other_failures_are_not_tried_again() -> None:
    runs: list[int] = []

    def run(rows: Int64) -> None:
        runs.append(len(rows))
        raise RunError("encoder", "cuda:0", "an illegal access")

    with pytest.raises(RunError):
        run_fitting(groups([0, 1]), run, lambda: None)
    assert runs == [2]
