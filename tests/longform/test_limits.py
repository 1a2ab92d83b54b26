"""Windows and batches fit the card that the encoder runs on."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

import tdt
from tdt.longform.batching import plan_batches, window_size
from tdt.longform.limits import CutOptions, batch_rule, card_bytes, make_plan, window_bytes
from tdt.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def asr() -> Iterator[tdt.Recognizer]:
    with tdt.load() as recognizer:
        yield recognizer


def test_half_of_the_cards_memory_bounds_a_window(asr: tdt.Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tdt.longform.limits.free_memory_bytes", lambda: 1)  # the machine's own does not count
    half, whole = window_bytes(asr.spec, 30.0), window_bytes(asr.spec, 60.0)
    assert make_plan(asr.spec, card_bytes=80 << 30).chunk == 750
    assert make_plan(asr.spec, card_bytes=2 * whole + 2).chunk == 750
    assert make_plan(asr.spec, card_bytes=2 * whole - 2).chunk == 375
    assert make_plan(asr.spec, card_bytes=2 * half - 2).chunk == 187
    assert make_plan(asr.spec, CutOptions(max_memory_bytes=whole), card_bytes=1).chunk == 750
    assert make_plan(asr.spec).chunk == 93


def test_windows_made_shorter_for_want_of_memory_are_told_once(
    asr: tdt.Recognizer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What would be caught: another text on a busy machine, and nobody knows why."""
    monkeypatch.setattr("tdt.longform.limits._told_short", set())
    half, whole = window_bytes(asr.spec, 30.0), window_bytes(asr.spec, 60.0)
    for free, chunk in ((2 * whole + 2, 750), (2 * whole - 2, 375), (2 * whole - 2, 375), (2 * half - 2, 187)):
        monkeypatch.setattr("tdt.longform.limits.free_memory_bytes", lambda free=free: free)
        assert make_plan(asr.spec).chunk == chunk
    assert make_plan(asr.spec, CutOptions(max_memory_bytes=half)).chunk == 375, "as asked for"
    assert make_plan(asr.spec, CutOptions(chunk_seconds=60.0)).chunk == 750
    told = [record.getMessage() for record in caplog.records]
    assert [message.split(":")[0] for message in told] == [
        f"only {(2 * whole - 2) >> 20} MB of memory are free",
        f"only {(2 * half - 2) >> 20} MB of memory are free",
    ]
    assert "more than 30 s is cut, as a rule of more than 60 s" in told[0]


@pytest.mark.parametrize(
    ("windows", "asked", "memory", "expected"),
    [
        (1000, None, None, 32),
        (None, None, None, 8),
        (3, None, None, 3),
        (3, 5, None, 5),
        (3, 2, None, 2),
        (1000, None, 3, 3),
        (1000, 2, 3, 2),
        (0.1, None, None, 1),
    ],
)
def test_a_batch_fits_the_card(
    asr: tdt.Recognizer, windows: float | None, asked: int | None, memory: int | None, expected: int
) -> None:
    """Of clips of 20 s; what a user says of memory counts for windows of full length."""
    free = None if windows is None else int(2 * windows * (window_bytes(asr.spec, 20.0) + 1))
    full = window_bytes(asr.spec, 60.0)
    cutting = CutOptions(max_memory_bytes=None if memory is None else memory * full)
    stages = replace(asr._stages, encoder=SimpleNamespace(card_bytes=free))  # type: ignore[arg-type]
    rule = stages.long_form(Reading(batch_size=asked, cutting=cutting)).batches
    assert [len(batch) for batch in plan_batches([20.0] * 40, rule)] == [expected] * (40 // expected) + (
        [40 % expected] if 40 % expected else []
    )
    assert window_size(rule) == 4 * rule.most


def test_the_longest_of_a_batch_decides_how_many_fit(asr: tdt.Recognizer) -> None:
    free = 2 * window_bytes(asr.spec, 30.0, 4)
    sizes = {
        seconds: batch_rule(asr.spec, 60.0, card_bytes=free).clips_of(seconds) for seconds in (2.0, 10.0, 30.0, 60.0)
    }
    assert sizes == {2.0: 32, 10.0: 13, 30.0: 4, 60.0: 1}


@pytest.mark.parametrize("found", [0, None, "many"])
def test_a_driver_that_does_not_tell_bounds_nothing(found: object) -> None:
    assert card_bytes(SimpleNamespace(card_bytes=found)) is None
    assert card_bytes(object()) is None
