"""Many streams in lockstep: each as it would be alone, in shared runs, and one that fails costs no other anything."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tdt.errors import AudioValueError, ClosedError, DecodingError, OptionError, StreamBusyError, StreamFinishedError
from tdt.lifetime import Lifetime
from tdt.live.lockstep import LiveBatch
from tdt.live.states import State

from .feeding import FRAME, ONE, STOP, THREE, TWO, audio, feed, feed_together, scripted, stages_of
from .test_stream import ENTRY, TALK, summary


@settings(max_examples=40)
@given(
    st.lists(st.lists(ENTRY, max_size=40), min_size=1, max_size=5),
    st.tuples(st.integers(0, 5), st.integers(1, 5), st.integers(0, 4)),
    st.integers(500, 30_000),
    st.sampled_from([None, 8]),
)
def test_streams_of_unlike_lengths_are_as_alone(
    scripts: list[list[Any]], contexts: tuple[int, int, int], block: int, restart: Any
) -> None:
    recordings = [audio([-e if isinstance(e, int) else e for e in script]) for script in scripts]
    setup = scripted(*contexts, restart=restart)
    batch, watchers = feed_together(setup, recordings, block)
    for stream, watcher, samples in zip(batch.streams, watchers, recordings, strict=True):
        alone, expected = feed(setup, samples)
        assert summary(watcher) == summary(expected)
        np.testing.assert_array_equal(stream.hypothesis.logprobs, alone.hypothesis.logprobs)
        assert stream.transcript == alone.transcript


def test_what_is_ready_shares_one_run_of_each_stage() -> None:
    setup = scripted(4, 3, 2)
    batch = LiveBatch(setup, 5)
    batch.push([audio(TALK[:8])] * 4 + [audio(TALK[:4])])
    stages = stages_of(setup)
    assert [len(run) for run in stages.runs] == [4, 4], "two windows of four streams"
    assert [len(call) for call in stages.decoded] == [4] * 4, "chunk and right context of each"


def test_nothing_pushed_is_nothing_done() -> None:
    batch = LiveBatch(scripted(), 3)
    assert batch.push([None, None, np.zeros(0, np.float32)]) == [[], [], []]
    assert len(batch) == 3


def test_one_refused_block_costs_no_other_anything() -> None:
    setup = scripted()
    batch = LiveBatch(setup, 3)
    answers = batch.push([audio(TALK), np.array([np.nan]), audio(TALK)])
    assert isinstance(answers[1], AudioValueError)
    assert answers[0] == answers[2] != []
    assert batch.streams[1].state is State.OPEN
    assert batch.push([None, audio(TALK), None])[1] == answers[0], "it goes on as if nothing had been"


@pytest.mark.parametrize("stage", ["encoder", "engine"])
def test_one_failed_stream_costs_no_other_anything(stage: str) -> None:
    setup = scripted(4, 3, 2)
    error = DecodingError("no numbers")
    stages_of(setup).fails[stage] = error
    bad = np.concatenate([audio([(ONE, 1), 1, 1]), np.full(20 * FRAME, 99, np.float32)])
    batch = LiveBatch(setup, 3)
    first = batch.push([audio(TALK), bad, audio(TALK)])
    alone, expected = feed(scripted(4, 3, 2), audio(TALK))
    assert first[1] is error
    for _ in range(2):
        assert batch.push([None, audio([1]), None])[1] is error
    last = batch.finish()
    assert last[1] is error
    for place in (0, 2):
        assert [*first[place], *last[place]] == expected.updates  # type: ignore[misc]
        assert batch.streams[place].transcript == alone.transcript
    assert [stream.state for stream in batch.streams] == [State.FINISHED, State.FAILED, State.FINISHED]


def test_streams_end_one_by_one() -> None:
    batch = LiveBatch(scripted(4, 3, 2), 2)
    batch.push([audio([(ONE, 1), (STOP, 1)]), audio([(TWO, 1)])])
    assert [u.final for u in batch.finish([0])[0] if u.kind == "final"] == ["one."]  # type: ignore[union-attr]
    answers = batch.push([audio([1]), audio([(THREE, 1)])])
    assert isinstance(answers[0], StreamFinishedError)
    assert [u.final for u in batch.finish()[1] if u.kind == "final"] == ["two three"]  # type: ignore[union-attr]
    assert batch.finish() == [[], []]


def test_what_does_not_fit_the_batch_is_refused() -> None:
    batch = LiveBatch(scripted(), 2)
    for blocks in (audio([1]), [audio([1])], [None] * 3, None, {0: audio([1])}):
        with pytest.raises(OptionError, match=r"(?s)^blocks=.*a list of 2"):
            batch.push(blocks)  # type: ignore[arg-type]
    for which in ([2], [-1], ["0"], [True]):
        with pytest.raises(OptionError, match="which="):
            batch.finish(which)  # type: ignore[arg-type]
    assert [stream.state for stream in batch.streams] == [State.OPEN] * 2


def test_a_closed_model_is_told() -> None:
    lifetime = Lifetime(lambda: None)
    with LiveBatch(scripted(lifetime=lifetime), 2) as batch:
        lifetime.close()
        with pytest.raises(ClosedError):
            batch.push([audio([1]), None])
    assert [stream.state for stream in batch.streams] == [State.FINISHED] * 2


def test_a_stream_in_another_threads_hands_is_told_as_busy() -> None:
    setup = scripted(0, 2, 0)
    stages, batch = stages_of(setup), LiveBatch(setup, 2)
    stages.pause = threading.Event()
    pusher = threading.Thread(target=lambda: batch.streams[0].push(audio([(ONE, 1), 1])))
    pusher.start()
    while not stages.runs:
        pass
    stages.pause.set()
    pusher.join()
    with batch.streams[0].turn():
        answers = batch.push([audio([1]), audio([1])])
    assert isinstance(answers[0], StreamBusyError)
    assert answers[1] == []
