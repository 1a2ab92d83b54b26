"""Streams that come and go: each says what it says alone, whoever is beside it, and leaves nothing behind."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tdt.errors import AudioValueError, ClosedError, DecodingError, OptionError
from tdt.lifetime import Lifetime
from tdt.live.contexts import Contexts
from tdt.live.room import LiveRoom
from tdt.live.states import State
from tdt.live.stream import LiveStream

from .feeding import FRAME, ONE, STOP, TWO, Watcher, audio, feed, scripted, stages_of
from .test_stream import ENTRY, TALK, summary


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.lists(ENTRY, max_size=30), st.integers(0, 12), st.integers(0, 1)), min_size=1, max_size=6),
    st.integers(500, 30_000),
    st.sampled_from([None, 1, 2]),
)
def test_streams_that_come_and_go_are_as_alone(people: list[Any], block: int, most: int | None) -> None:
    """Each comes at a time of its own, with contexts of one of two kinds, and leaves when it has said all."""
    setup = scripted(4, 3, 2)
    kinds = [setup, replace(setup, contexts=Contexts(2, 5, 1, FRAME))]
    recordings = [audio([-e if isinstance(e, int) else e for e in script]) for script, _, _ in people]
    room, watchers = LiveRoom(most), [Watcher() for _ in people]
    there: dict[int, LiveStream] = {}
    left: dict[int, LiveStream] = {}
    time = 0
    while len(left) < len(people):
        for place, (_, comes, kind) in enumerate(people):
            if comes == time:
                there[place] = room.join(LiveStream(kinds[kind]))
        blocks, ending = {}, []
        for place, stream in there.items():
            at = (time - people[place][1]) * block
            blocks[stream] = recordings[place][at : at + block]
            if at + block >= len(recordings[place]):
                ending.append(stream)
        answers = room.step(blocks, ending)
        for place, stream in list(there.items()):
            answer = answers[stream]
            assert isinstance(answer, list), answer
            watchers[place].see(answer)
            if stream in ending:
                room.leave(stream)
                left[place] = there.pop(place)
        assert len(room) == len(there)
        time += 1
    for place, samples in enumerate(recordings):
        alone, expected = feed(kinds[people[place][2]], samples)
        assert summary(watchers[place]) == summary(expected)
        assert left[place].transcript == alone.transcript


def test_unlike_rates_and_contexts_share_one_run() -> None:
    setup = scripted(4, 3, 2)
    room = LiveRoom()
    first = room.join(LiveStream(setup))
    second = room.join(LiveStream(replace(setup, contexts=Contexts(4, 3, 1, FRAME))))
    room.step({first: audio(TALK[:5]), second: audio(TALK[:4])})
    assert [len(run) for run in stages_of(setup).runs] == [2]


def test_a_run_takes_no_more_than_its_most() -> None:
    setup = scripted(4, 3, 2)
    room = LiveRoom(most=2)
    streams = [room.join(LiveStream(setup)) for _ in range(5)]
    room.step({stream: audio(TALK[:5]) for stream in streams})
    assert [len(run) for run in stages_of(setup).runs] == [2, 2, 1]


def test_streams_of_other_stages_run_by_themselves() -> None:
    setups = [scripted(4, 3, 2), scripted(4, 3, 2)]
    room = LiveRoom()
    streams = [room.join(LiveStream(setup)) for setup in setups]
    answers = room.step({stream: audio(TALK) for stream in streams}, streams)
    assert answers[streams[0]] == answers[streams[1]] != []
    assert [{len(run) for run in stages_of(setup).runs} for setup in setups] == [{1}, {1}]


def test_who_leaves_is_let_go() -> None:
    setup = scripted(4, 3, 2)
    room = LiveRoom()
    stream = room.join(LiveStream(setup))
    room.step({stream: audio([(ONE, 1), 1])})
    gone = weakref.ref(stream)
    room.leave(stream)
    room.leave(stream)
    assert stream.push(audio([1, 1, 1])) != [], "it goes on by itself"
    del stream
    gc.collect()
    assert gone() is None
    assert list(room) == []


def test_one_that_fails_costs_no_other_anything_and_may_leave() -> None:
    setup = scripted(4, 3, 2)
    error = DecodingError("no numbers")
    stages_of(setup).fails["encoder"] = error
    room = LiveRoom()
    good, bad, refused = (room.join(LiveStream(setup)) for _ in range(3))
    loud = np.full(20 * FRAME, 99, np.float32)
    answers = room.step({good: audio(TALK), bad: loud, refused: np.array([np.nan])}, [good, refused])
    assert answers[good] == feed(scripted(4, 3, 2), audio(TALK))[1].updates
    assert answers[bad] is error
    assert isinstance(answers[refused], AudioValueError)
    assert [stream.state for stream in room] == [State.FINISHED, State.FAILED, State.OPEN]
    room.leave(bad)
    tail = room.step({refused: audio([(TWO, 1), (STOP, 1)])}, [refused])[refused]
    assert [update.final for update in tail if update.kind == "final"] == ["two."]  # type: ignore[union-attr]


def test_what_is_not_here_is_refused_and_nothing_taken() -> None:
    setup = scripted()
    room, stranger = LiveRoom(), LiveStream(setup)
    mine = room.join(LiveStream(setup))
    for blocks, ending in (({mine: audio(TALK), stranger: audio(TALK)}, []), ({mine: audio(TALK)}, [stranger])):
        with pytest.raises(OptionError, match=r"^stream=.*one that has joined"):
            room.step(blocks, ending)
    assert mine.audio_seconds == 0
    with pytest.raises(OptionError, match=r"^stream=.*Recognizer\.live"):
        room.join("talk.wav")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"^most="):
        LiveRoom(0)


def test_a_closed_model_is_told_and_a_closed_room_is_empty() -> None:
    lifetime = Lifetime(lambda: None)
    with LiveRoom() as room:
        stream = room.join(LiveStream(scripted(lifetime=lifetime)))
        lifetime.close()
        with pytest.raises(ClosedError):
            room.step({stream: audio([1])})
    assert (stream.state, len(room)) == (State.FINISHED, 0)
