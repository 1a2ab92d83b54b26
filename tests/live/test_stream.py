"""One live stream over scripted stages: any cut gives the same updates, and every edge is where it should be."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tdt.errors import (
    AudioValueError,
    ClosedError,
    DecodingError,
    NotPicklableError,
    StreamBusyError,
    StreamFinishedError,
    UnexpectedError,
)
from tdt.lifetime import Lifetime
from tdt.live.states import State
from tdt.live.stream import LiveStream
from tdt.timeline import CALL, Timeline

from .feeding import (
    FOUR,
    FRAME,
    ONE,
    STOP,
    TEEN,
    THREE,
    TWO,
    Watcher,
    audio,
    feed,
    naive_tokens,
    scripted,
    stages_of,
)


def script(*steps: tuple[int, int] | int) -> list[tuple[int, int] | int]:
    """Return a script of tokens with their durations, and of numbers of silent frames."""
    return [
        entry for step in steps for entry in ([1] * step if isinstance(step, int) else [step, *[1] * (step[1] - 1)])
    ]


TALK = script(
    (ONE, 1), 2, (FOUR, 1), (TEEN, 2), (STOP, 1), 9, (TWO, 2), 1, (THREE, 4), 3, (ONE, 0), (STOP, 1), 30, (TWO, 1), 2
)
FINALS = ["one fourteen.", "two three one.", "two"]


def tokens_of(stream: LiveStream) -> list[tuple[int, int, int]]:
    found = stream.hypothesis
    return list(zip(found.token_ids.tolist(), found.frames.tolist(), found.durations.tolist(), strict=True))


def summary(watcher: Watcher) -> list[Any]:
    return [(u.kind, u.final, u.draft, u.words, u.start, u.end, u.audio_seconds) for u in watcher.updates]


# --- any cut ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("contexts", [(4, 3, 2), (0, 3, 2), (4, 3, 0), (0, 1, 0), (1, 1, 9), (40, 200, 3)])
@pytest.mark.parametrize("block", [160, 1279, 16000, 60 * 16000])
def test_blocks_of_any_length_give_the_same_updates(contexts: tuple[int, int, int], block: int) -> None:
    samples = audio(TALK)
    whole = feed(scripted(*contexts), samples)
    stream, watcher = feed(scripted(*contexts), samples, list(range(block, len(samples), block)))
    assert summary(watcher) == summary(whole[1])
    assert watcher.finals == FINALS
    assert tokens_of(stream) == tokens_of(whole[0]) == naive_tokens(samples, stream.contexts)


def test_one_sample_at_a_time_gives_the_same_updates() -> None:
    samples = audio(TALK[:12])
    expected = feed(scripted(2, 2, 1), samples)[1]
    watcher, stream = Watcher(), LiveStream(scripted(2, 2, 1))
    for sample in samples:
        watcher.see(stream.push(np.array([sample])))
    watcher.see(stream.finish())
    assert summary(watcher) == summary(expected)


ENTRY = st.one_of(st.integers(-6, 0), st.tuples(st.integers(1, 9), st.integers(0, 4)))


@settings(max_examples=150)
@given(
    st.lists(ENTRY, max_size=60),
    st.tuples(st.integers(0, 5), st.integers(1, 5), st.integers(0, 4)),
    st.integers(0, FRAME - 1),
    st.lists(st.integers(0, 80_000), max_size=8),
    st.sampled_from([None, 3, 6]),
    st.sampled_from([None, 4, 8]),
)
def test_any_script_in_any_cuts(
    entries: list[Any], contexts: tuple[int, int, int], extra: int, cuts: list[int], silence: Any, restart: Any
) -> None:
    steps = [-entry if isinstance(entry, int) else entry for entry in entries]
    samples = np.concatenate([audio(steps), np.zeros(extra, np.float32)])
    setup = scripted(*contexts, silence=silence, restart=restart)
    whole, expected = feed(setup, samples)
    stream, watcher = feed(setup, samples, [cut for cut in cuts if cut <= len(samples)])
    assert summary(watcher) == summary(expected)
    np.testing.assert_array_equal(stream.hypothesis.logprobs, whole.hypothesis.logprobs)
    assert stream.transcript == whole.transcript
    if restart is None and len(samples) >= 16000:
        assert tokens_of(stream) == naive_tokens(samples, stream.contexts)
    said = "".join(watcher.finals).replace(" ", "")
    assert said == "".join(word.text for word in stream.transcript.words).replace(" ", "")


# --- the course of a stream -------------------------------------------------------------------------------------------


def test_updates_tell_the_course_of_an_utterance() -> None:
    stream, found = LiveStream(scripted(4, 3, 2)), []
    for frame in range(18):
        found += [(frame, *u) for u in _told(stream.push(audio([TALK[frame]])))]
    assert found == [
        (4, "speech", "", ""),
        (4, "partial", "", "one fourteen"),
        (7, "partial", "one", " fourteen."),
        (10, "final", "one fourteen.", ""),
        (10, "silence", "", ""),
        (16, "speech", "", ""),
        (16, "partial", "", "two"),
    ]
    assert stream.state is State.SPEECH
    assert stream.contexts.latency_seconds == pytest.approx(0.4)


def _told(updates: Any) -> list[tuple[str, str, str]]:
    return [(update.kind, update.final, update.draft) for update in updates]


def test_times_count_from_the_start_of_the_stream() -> None:
    stream, watcher = feed(scripted(4, 3, 2), audio(TALK))
    finals = [update for update in watcher.updates if update.kind == "final"]
    assert [update.start for update in finals] == pytest.approx([0, 0.08 * 16, 0.08 * 58])
    assert finals[0].words[1].text == "fourteen."
    assert finals[0].words[1].end == pytest.approx(0.08 * 6)
    assert [word.text for word in stream.transcript.words] == ["one", "fourteen.", "two", "three", "one.", "two"]
    assert stream.transcript.audio_seconds == stream.audio_seconds == len(audio(TALK)) / 16000
    assert [segment.text for segment in stream.transcript.segments] == ["one fourteen.", "two three one.", "two"]


def test_decoding_starts_afresh_after_a_long_pause_wherever_chunks_end() -> None:
    samples = audio(TALK)
    for contexts in ((4, 3, 2), (0, 7, 0), (9, 1, 1), (0, 500, 0)):
        kept, _ = feed(scripted(*contexts), samples)
        assert kept.hypothesis.logprobs.tolist() == [-float(n) for n in range(9)]
        afresh, watcher = feed(scripted(*contexts, restart=25), samples)
        assert afresh.hypothesis.logprobs.tolist() == [-float(n) for n in (*range(8), 0)], contexts
        assert watcher.finals == FINALS


def test_without_an_end_of_speech_only_the_end_closes() -> None:
    _, watcher = feed(scripted(silence=None), audio(TALK))
    assert watcher.finals == ["one fourteen. two three one. two"]


def test_what_is_longer_than_half_a_minute_closes_at_a_sentence() -> None:
    sentence = [(ONE, 1), (TWO, 1), (THREE, 1), (STOP, 1)]
    _, watcher = feed(scripted(10, 10, 5), audio(sentence * 200))
    assert len(watcher.finals) == 3
    assert {final[-6:] for final in watcher.finals} == {"three."}
    assert [u.kind for u in watcher.updates if u.kind in {"speech", "silence"}] == ["speech", "silence"]


def test_a_duration_that_jumps_a_whole_chunk() -> None:
    jumps = [(ONE, 4), (TWO, 1), (TWO, 1), (TWO, 1), (THREE, 4), -1, (TWO, 1), (TWO, 1), (FOUR, 1)]
    for contexts in ((3, 1, 0), (3, 1, 1), (0, 2, 1), (0, 1, 5)):
        stream, _ = feed(scripted(*contexts), audio(jumps))
        assert [token for token, *_ in tokens_of(stream)] == [ONE, THREE, FOUR], contexts
        blanks, _ = feed(scripted(*contexts), audio([4, (TWO, 1), (TWO, 1), (TWO, 1), (ONE, 1)]))
        assert [token for token, *_ in tokens_of(blanks)] == [ONE], contexts


def test_a_draft_that_does_not_come_true_is_taken_back() -> None:
    """Of the right context nothing is kept: here it says something that the chunk does not say later."""
    setup = scripted(0, 2, 2)
    stream, watcher, stages = LiveStream(setup), Watcher(), stages_of(setup)
    watcher.see(stream.push(audio([1, 1, (ONE, 1), 1])))
    assert _told(watcher.updates) == [("speech", "", ""), ("partial", "", "one")]
    assert stream.state is State.SPEECH
    said = stages.encode_for_decoding
    stages.encode_for_decoding = lambda *a, **k: _silenced(said(*a, **k))  # type: ignore[method-assign]
    watcher.see(stream.push(audio([1, 1])))
    assert _told(watcher.updates)[2:] == [("silence", "", "")]
    assert (stream.state, len(stream.hypothesis)) == (State.OPEN, 0)


def _silenced(encoded: Any) -> Any:
    encoded.frames[:] = 0
    return encoded


# --- the edges --------------------------------------------------------------------------------------------------------


def test_nothing_gives_nothing() -> None:
    for samples in (np.zeros(0, np.float32), np.zeros(159, np.float32)):
        stream, watcher = feed(scripted(), samples)
        assert (watcher.updates, stream.transcript.text, stream.state) == ([], "", State.FINISHED)
        assert stages_of(stream.setup).runs == []


def test_a_stream_shorter_than_a_second_is_padded_as_transcribe_pads() -> None:
    stream, watcher = feed(scripted(20, 20, 5), audio([(ONE, 1), (TWO, 1), 1]))
    assert stages_of(stream.setup).runs == [[16000]]
    # 6080 zeros come before: frame 5, at 6400, is the first to begin within the clip, 20 ms after it does.
    assert watcher.finals == ["one two"]
    word = watcher.updates[1].words[0]
    assert (word.start, word.end) == pytest.approx((0.02, 0.1))
    assert stream.transcript.words[0].start == word.start
    assert stream.transcript.audio_seconds == 0.24


def test_a_stream_shorter_than_chunk_and_right_is_one_window() -> None:
    samples = audio(TALK[:40])
    stream, _ = feed(scripted(4, 30, 12), samples, [500, 9000])
    assert stages_of(stream.setup).runs == [[len(samples)]]


def test_a_stream_that_ends_with_a_window_keeps_its_draft() -> None:
    setup = scripted(4, 3, 2)
    samples = audio([1, 1, 1, 1, 1, 1, (ONE, 1), (TWO, 1), 1, 1, (THREE, 1)])
    stream, watcher = feed(setup, samples)
    assert stages_of(setup).runs == [[5 * FRAME], [8 * FRAME], [9 * FRAME]], "no run of the same audio again"
    assert tokens_of(stream) == naive_tokens(samples, stream.contexts)
    assert watcher.finals == ["one two three"]


def test_every_full_window_has_one_shape() -> None:
    setup = scripted(4, 3, 2)
    feed(setup, audio([1] * 100))
    assert {size for run in stages_of(setup).runs[2:-1] for size in run} == {9 * FRAME}


def test_only_the_frames_of_chunk_and_right_are_decoded() -> None:
    setup = scripted(40, 3, 2)
    feed(setup, audio([1] * 60))
    decoded = [frames for call in stages_of(setup).decoded for frames in call]
    assert decoded[:-1] == [3, 2] * ((60 - 5) // 3 + 1)
    assert decoded[-1] <= 5


def test_silence_for_long_says_nothing_and_holds_nothing() -> None:
    stream = LiveStream(scripted(4, 25, 5, restart=25))
    minute = np.zeros(60 * 16000, np.float32)
    assert [update for _ in range(60) for update in stream.push(minute)] == []
    assert (len(stream._spoken), len(stream.hypothesis)) == (0, 0)
    assert len(stream._buffer._samples) <= (4 + 2 * 25 + 5) * FRAME + 2 * 16000
    assert stream.finish() == []
    assert (stream.transcript.text, stream.audio_seconds) == ("", 3600)


def test_a_refused_block_changes_nothing() -> None:
    samples = audio(TALK)
    expected = summary(feed(scripted(), samples)[1])
    stream, watcher = LiveStream(scripted()), Watcher()
    bad: list[Any] = [np.array([np.nan], np.float32), np.zeros(5, np.int32), "a.wav", [0.0], np.zeros((2, 999))]
    for start in range(0, len(samples), 5000):
        for block in bad:
            with pytest.raises(AudioValueError):
                stream.push(block)
        # Half of it is good, none of it is taken.
        with pytest.raises(AudioValueError):
            stream.push(np.append(samples[start : start + 900], np.float32("nan")))
        watcher.see(stream.push(samples[start : start + 5000]))
    watcher.see(stream.finish())
    assert summary(watcher) == expected


def test_push_after_finish_is_refused() -> None:
    stream, _ = feed(scripted(), audio(TALK))
    before = stream.transcript
    with pytest.raises(StreamFinishedError, match=r"asr\.live\(\)"):
        stream.push(audio([1]))
    assert (stream.finish(), stream.transcript) == ([], before)


def test_leaving_the_block_lets_the_rest_go() -> None:
    setup = scripted()
    with LiveStream(setup) as stream:
        stream.push(audio(TALK[:20]))
        runs = len(stages_of(setup).runs)
    assert (stream.state, len(stages_of(setup).runs)) == (State.FINISHED, runs)
    with pytest.raises(StreamFinishedError):
        stream.push(audio([1]))
    assert stream.finish() == []
    assert stream.transcript.text


def test_two_threads_in_one_stream_are_refused() -> None:
    setup = scripted(0, 2, 0)
    stages, stream = stages_of(setup), LiveStream(setup)
    stages.pause = threading.Event()
    told: list[Any] = []
    pusher = threading.Thread(target=lambda: told.append(stream.push(audio([(ONE, 1), 1]))))
    pusher.start()
    while not stages.runs:
        pass
    for call in (lambda: stream.push(audio([1])), stream.finish):
        with pytest.raises(StreamBusyError, match="another thread"):
            call()
    stages.pause.set()
    pusher.join()
    assert [update.kind for update in told[0]] == ["speech", "partial"]
    assert stream.audio_seconds == 0.16, "the refused block was not taken"
    stream.push(audio([1]))


@pytest.mark.parametrize("stage", ["encoder", "engine"])
def test_a_failed_run_is_for_good(stage: str) -> None:
    setup = scripted(2, 3, 1)
    stages_of(setup).fails[stage] = DecodingError("no numbers")
    stream = LiveStream(setup)
    stream.push(audio([(ONE, 1), 1, (TWO, 1), 1, 1]))
    before = stream.hypothesis
    # In one push a window that is good, and one that fails: what was said is not lost.
    last = stream.push(np.concatenate([audio([(THREE, 1), 1]), np.full(4 * FRAME, 99, np.float32)]))
    assert [update.final + update.draft for update in last] == ["one two three"]
    for call in (lambda: stream.push(audio([1])), stream.finish, lambda: stream.push("no audio")):
        with pytest.raises(DecodingError, match="no numbers"):
            call()
    assert stream.state is State.FAILED
    assert stream.hypothesis.token_ids.tolist()[: len(before)] == before.token_ids.tolist()
    fresh = LiveStream(setup)
    with pytest.raises(DecodingError, match="no numbers"):
        fresh.push(np.full(4 * FRAME, 99, np.float32))


def test_what_nobody_foresaw_becomes_typed() -> None:
    setup = scripted(0, 1, 0)
    stages_of(setup).fails["encoder"] = KeyError("strange")
    with pytest.raises(UnexpectedError, match=r"The live stream.*KeyError: 'strange'"):
        LiveStream(setup).push(np.full(FRAME, 99, np.float32))


def test_an_interrupt_loses_nothing() -> None:
    setup = scripted(0, 2, 0)
    stages, stream = stages_of(setup), LiveStream(setup)
    stages.fails["encoder"] = KeyboardInterrupt()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        stream.push(np.concatenate([audio([(ONE, 1), 1]), np.full(FRAME, 99, np.float32)] * 2))
    del stages.fails["encoder"]
    stream._incoming.pump(stream._buffer)
    assert stream.state is not State.FAILED
    stream.push(audio([1]))
    assert stream.hypothesis.token_ids[0] == ONE


def test_a_closed_model_is_told_and_changes_nothing() -> None:
    lifetime = Lifetime(lambda: None)
    stream = LiveStream(scripted(lifetime=lifetime))
    stream.push(audio(TALK[:20]))
    said, seconds = stream.transcript.text, stream.audio_seconds
    lifetime.close()
    for call in (lambda: stream.push(audio([1])), stream.finish):
        with pytest.raises(ClosedError):
            call()
    assert (stream.transcript.text, stream.audio_seconds) == (said, seconds)
    stream.close()


def test_a_late_block_is_like_any_other() -> None:
    stream = LiveStream(scripted())
    assert [stream.push(np.zeros(0, np.float32)) for _ in range(5)] == [[]] * 5
    assert stream.push(audio(TALK[:6]))


def test_a_stream_stays_in_its_process() -> None:
    with pytest.raises(NotPicklableError):
        LiveStream(scripted()).__reduce__()


def test_tokens_are_joined_now_and_then_and_none_is_lost() -> None:
    stream = LiveStream(scripted(0, 1, 0, silence=1))
    for _ in range(3):
        for _ in range(200):
            stream.push(audio([(ONE, 1), 1]))
        assert len(stream._spoken) <= 256
    assert stream.hypothesis.frames.tolist() == list(range(0, 1200, 2))


def test_a_timeline_records_the_stages_of_each_step() -> None:
    timeline = Timeline()
    feed(scripted(4, 3, 2, timeline=timeline), audio([1] * 30))
    names = [span.name for span in timeline.spans]
    assert [names.count(name) for name in (CALL, "features", "encoder", "text")] == [10] * 4
    assert {span.path for span in timeline.spans if span.name != CALL} == {
        f"{CALL}/{stage}" for stage in ("features", "encoder", "text")
    }
    assert timeline.audio_seconds == pytest.approx(30 * 0.08)
