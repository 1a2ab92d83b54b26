"""Windows and batches fit the card that the encoder runs on."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

import tdt
from tdt.longform.limits import CutOptions, batch_for_card, card_bytes, make_plan, window_bytes
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


def test_a_batch_of_windows_fits_too(asr: tdt.Recognizer) -> None:
    whole = window_bytes(asr.spec, 60.0)
    assert batch_for_card(asr.spec, 60.0, None) is None
    assert batch_for_card(asr.spec, 60.0, 80 << 30) is None
    assert batch_for_card(asr.spec, 60.0, 6 * whole + 6) == 3
    assert batch_for_card(asr.spec, 60.0, 1) == 1


@pytest.mark.parametrize(
    ("windows", "asked", "expected"), [(1000, None, None), (None, None, None), (3, 5, 5), (3, None, 3), (3, 2, 2)]
)
def test_a_small_card_makes_small_batches(
    asr: tdt.Recognizer, windows: int | None, asked: int | None, expected: int | None
) -> None:
    free = None if windows is None else 2 * windows * (window_bytes(asr.spec, 60.0) + 1)
    stages = replace(asr._stages, encoder=SimpleNamespace(card_bytes=free))  # type: ignore[arg-type]
    assert stages.long_form(Reading(batch_size=asked)).batch_size == expected


@pytest.mark.parametrize("found", [0, None, "many"])
def test_a_driver_that_does_not_tell_bounds_nothing(found: object) -> None:
    assert card_bytes(SimpleNamespace(card_bytes=found)) is None
    assert card_bytes(object()) is None
