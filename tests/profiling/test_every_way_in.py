"""With a timeline in any call of a recogniser, the stages and what is unaccounted for add up to the wall time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tdt
from tdt.profiling.breakdown import UNACCOUNTED, break_down

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLIP = Path(__file__).parents[1] / "data" / "eval" / "p10_flite-slt.flac"


@pytest.fixture(scope="module")
def asr() -> Iterator[tdt.Recognizer]:
    with tdt.load() as recognizer:
        recognizer.warmup()
        yield recognizer


def live(asr: tdt.Recognizer, timeline: tdt.Timeline) -> None:
    with asr.live(latency=2, timeline=timeline) as stream:
        stream.push(np.zeros(40000, np.float32))
        stream.finish()


def ways(asr: tdt.Recognizer) -> dict[str, Callable[[tdt.Timeline], Any]]:
    features = asr.features(CLIP)
    encoded = asr.encode(features)
    return {
        "features": lambda t: asr.features(CLIP, timeline=t),
        "encode": lambda t: asr.encode(features, timeline=t),
        "decode": lambda t: asr.decode(encoded, timeline=t),
        "decode, phrases": lambda t: asr.decode(encoded, phrases=["Frank"], timeline=t),
        "decode, beam": lambda t: asr.decode(encoded, beam=2, timeline=t),
        "decode_piece": lambda t: asr.decode_piece(encoded, timeline=t),
        "transcribe": lambda t: asr.transcribe(CLIP, timeline=t),
        "transcribe, several": lambda t: asr.transcribe([CLIP] * 3, timeline=t),
        "transcribe, long": lambda t: asr.transcribe(CLIP, chunk_seconds=2, timeline=t),
        "transcribe_each": lambda t: list(asr.transcribe_each([CLIP] * 2, timeline=t)),
        "stream": lambda t: list(asr.stream(CLIP, timeline=t)),
        "stream, long": lambda t: list(asr.stream(CLIP, chunk_seconds=2, timeline=t)),
        "live": lambda t: live(asr, t),
    }


@pytest.mark.parametrize("way", [
    "features", "encode", "decode", "decode, phrases", "decode, beam", "decode_piece", "transcribe",
    "transcribe, several", "transcribe, long", "transcribe_each", "stream", "stream, long", "live",
])  # fmt: skip
def test_shares_add_to_one_and_none_is_negative(way: str, asr: tdt.Recognizer) -> None:
    call = ways(asr)[way]
    call(tdt.Timeline())  # what is compiled or loaded at a first use is over
    timeline = tdt.Timeline()
    started = time.perf_counter()
    call(timeline)
    elapsed_ms = 1e3 * (time.perf_counter() - started)
    table = break_down(timeline)
    assert table.calls >= 1
    assert 0 < table.wall_ms <= elapsed_ms
    assert sum(row.share for row in table.stages) == pytest.approx(1)
    assert all(row.total_ms >= 0 for row in table.stages), [(row.name, row.total_ms) for row in table.stages]
    assert {row.name for row in table.stages} - {UNACCOUNTED}


def test_the_time_of_a_streams_user_is_none_of_its_own(asr: tdt.Recognizer) -> None:
    timeline = tdt.Timeline()
    for _ in asr.transcribe_each([CLIP] * 2, timeline=timeline):
        time.sleep(0.3)
    assert break_down(timeline).wall_ms < 600
