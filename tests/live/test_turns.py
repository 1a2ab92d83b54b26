"""One turn of many streams: the encoder a run ahead of decoding says what one run says, whatever fails."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tdt.errors import DecodingError
from tdt.live.lockstep import LiveBatch
from tdt.live.room import LiveRoom
from tdt.live.states import State
from tdt.live.stream import LiveStream, Setup
from tdt.live.turns import AHEAD_STREAMS, _size
from tdt.timeline import Timeline

from .feeding import FRAME, ONE, audio, feed, feed_together, scripted, stages_of
from .test_stream import ENTRY, TALK, summary

MANY = 2 * AHEAD_STREAMS
PATIENCE_SECONDS = 30.0


def ahead(setup: Setup) -> Setup:
    return replace(setup, stepper=replace(setup.stepper, works_ahead=True))


@pytest.mark.parametrize("count", [1, 7, 15, 16, 17, 18, 20, 32, 33, 4096])
def test_runs_of_a_card_are_equal_and_never_small(count: int) -> None:
    size = _size(count)
    assert count % size == 0
    assert size == count or size >= AHEAD_STREAMS
    assert count % 2 or count < MANY or size < count


def test_the_next_run_is_encoded_while_this_one_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be caught: an encoder that waits until decoding is over (this would wait for ever, and fail)."""
    setup = ahead(scripted(4, 3, 2))
    stages, second = stages_of(setup), threading.Event()
    encode, decode = stages.encode_for_decoding, stages.decode
    threads: dict[str, str] = {}

    def encoding(*given: Any, **options: Any) -> Any:
        threads["encode"] = threading.current_thread().name
        if stages.runs:
            second.set()
        return encode(*given, **options)

    def decoding(*given: Any) -> Any:
        threads["decode"] = threading.current_thread().name
        assert second.wait(PATIENCE_SECONDS)
        return decode(*given)

    monkeypatch.setattr(stages, "encode_for_decoding", encoding)
    monkeypatch.setattr(stages, "decode", decoding)
    batch = LiveBatch(setup, MANY)
    answers = batch.push([audio(TALK[:5])] * MANY)
    assert [len(run) for run in stages.runs] == [AHEAD_STREAMS] * 2
    assert threads == {"encode": "tdt-ahead", "decode": threading.current_thread().name}
    assert answers == [LiveStream(scripted(4, 3, 2)).push(audio(TALK[:5]))] * MANY


@settings(max_examples=10)
@given(
    st.lists(st.lists(ENTRY, max_size=25), min_size=MANY, max_size=MANY + 4),
    st.integers(20_000, 90_000),
    st.sampled_from([None, 8]),
)
def test_streams_are_as_alone(scripts: list[list[Any]], block: int, restart: int | None) -> None:
    recordings = [audio([-e if isinstance(e, int) else e for e in script]) for script in scripts]
    setup = scripted(4, 3, 2, restart=restart)
    batch, watchers = feed_together(ahead(setup), recordings, block)
    for stream, watcher, samples in zip(batch.streams, watchers, recordings, strict=True):
        alone, expected = feed(setup, samples)
        assert summary(watcher) == summary(expected)
        assert stream.transcript == alone.transcript


def test_a_room_with_a_limit_has_shorter_runs() -> None:
    setup = ahead(scripted(4, 3, 2))
    room = LiveRoom(most=5)
    streams = [room.join(LiveStream(setup)) for _ in range(MANY)]
    room.step({stream: audio(TALK[:5]) for stream in streams})
    assert [len(run) for run in stages_of(setup).runs] == [5, 5, 5, 1]


@pytest.mark.parametrize("stage", ["encoder", "engine"])
def test_one_that_fails_costs_no_other_anything(stage: str) -> None:
    setup = ahead(scripted(4, 3, 2))
    error = DecodingError("no numbers")
    stages_of(setup).fails[stage] = error
    bad = np.concatenate([audio([(ONE, 1), 1, 1]), np.full(20 * FRAME, 99, np.float32)])
    batch = LiveBatch(setup, MANY)
    batch.push([audio(TALK)] * (MANY - 1) + [bad])
    last = batch.finish()
    alone, _ = feed(scripted(4, 3, 2), audio(TALK))
    assert last[-1] is error
    assert [stream.state for stream in batch.streams] == [State.FINISHED] * (MANY - 1) + [State.FAILED]
    assert all(stream.transcript == alone.transcript for stream in batch.streams[:-1])


def test_a_profile_runs_the_stages_one_after_another() -> None:
    timeline = Timeline()
    setup = ahead(scripted(4, 3, 2, timeline=timeline))
    batch = LiveBatch(setup, MANY)
    batch.push([audio(TALK[:5])] * MANY)
    assert [len(run) for run in stages_of(setup).runs] == [MANY]
    assert timeline.spans
