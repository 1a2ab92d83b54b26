"""Settled and draft words: final never ends in half a word, marks are not lost, utterances do not depend on chunks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdt.live.endpoint import usual_rules
from tdt.live.settling import Closed, Settler
from tdt.stages import Hypothesis
from tdt.text.detokenizer import Detokenizer

from .feeding import COMMA, FOUR, ONE, PIECES, SPACE, STOP, TEEN, THREE, TWO, S

DETOKENIZER = Detokenizer(PIECES)


def tokens(*spoken: tuple[int, int], duration: int = 1) -> Hypothesis:
    """Return tokens of (id, frame)."""
    columns = np.array(spoken, np.int32).reshape(-1, 2).T
    scores = np.ones(len(spoken), np.float32)
    return Hypothesis(columns[0], columns[1], np.full(len(spoken), duration, np.int32), -scores, scores)


def settler(silence: int | None = 5) -> Settler:
    return Settler(DETOKENIZER, usual_rules(silence, 0.08))


def said(closed: list[Closed]) -> list[tuple[str, str]]:
    return [(DETOKENIZER.text(utterance.tokens.token_ids), utterance.rule) for utterance in closed]


def settled_text(made: Settler) -> str:
    running = made.running()
    return DETOKENIZER.text(running.tokens.token_ids[: running.settled])


def test_a_word_settles_when_the_next_begins() -> None:
    made = settler()
    assert made.add(tokens((FOUR, 0)), tokens((TEEN, 2)), 5) == []
    assert (settled_text(made), len(made.running().draft)) == ("", 1)
    assert made.add(tokens((TEEN, 2)), tokens((ONE, 4)), 8) == []
    assert settled_text(made) == "", "the draft's next word settles nothing"
    assert made.add(tokens((ONE, 4)), tokens(), 9) == []
    assert settled_text(made) == "fourteen"
    assert said(made.finish()) == [("fourteen one", "end")]
    assert made.finish() == []


def test_a_mark_begins_no_word() -> None:
    made = settler()
    made.add(tokens((ONE, 0), (COMMA, 1), (TWO, 2), (STOP, 3)), tokens(), 4)
    assert settled_text(made) == "one,"


def test_silence_closes_with_what_the_right_context_says() -> None:
    made = settler()
    assert made.add(tokens((ONE, 0)), tokens((TWO, 5)), 9) == [], "four silent frames"
    assert said(made.add(tokens(), tokens((TWO, 6)), 9)) == [("one", "silence")]
    assert len(made.running().tokens) == 0
    assert len(made.running().draft) == 1, "the draft begins the next utterance"


def test_silence_between_tokens_of_one_chunk_closes_too() -> None:
    made = settler()
    closed = made.add(tokens((ONE, 0), (S, 6), (TWO, 7), (THREE, 20)), tokens(), 22)
    assert said(closed) == [("one", "silence"), ("s two", "silence")]
    assert said(made.finish()) == [("three", "end")]


def test_a_late_mark_belongs_to_the_utterance_before() -> None:
    made = settler()
    assert made.add(tokens((ONE, 0)), tokens((STOP, 9)), 20) == [], "the draft shows a mark to come"
    assert said(made.add(tokens((STOP, 9)), tokens(), 20)) == [("one.", "silence")]
    again = settler()
    assert said(again.add(tokens((ONE, 0), (STOP, 9), (TWO, 11)), tokens(), 12)) == [("one.", "silence")]


def test_a_mark_that_comes_too_late_is_not_lost() -> None:
    made = settler()
    assert said(made.add(tokens((ONE, 0)), tokens(), 6)) == [("one", "silence")]
    assert made.add(tokens((STOP, 7), (TWO, 8)), tokens(), 10) == []
    assert said(made.finish()) == [(". two", "end")]


def test_without_an_end_of_speech_nothing_but_length_closes() -> None:
    made = settler(None)
    assert made.add(tokens((ONE, 0), (TWO, 300)), tokens(), 374) == []
    assert made.add(tokens((STOP, 374), (THREE, 375)), tokens(), 375) == [], "the sentence is not 30 s long yet"
    assert said(made.add(tokens((STOP, 376), (ONE, 377)), tokens(), 380)) == [("one two. three.", "sentence")]


def test_without_full_stops_a_minute_closes_at_a_word() -> None:
    made, closed = settler(None), []
    for word in range(400):
        closed += made.add(tokens((FOUR, 4 * word), (TEEN, 4 * word + 1)), tokens(), 4 * word + 2)
    assert [rule for _, rule in said(closed)] == ["length"] * 2
    assert all(text == " ".join(["fourteen"] * 188) for text, _ in said(closed))


SPOKEN = st.lists(
    st.tuples(st.sampled_from([ONE, TWO, S, STOP, COMMA, SPACE, FOUR, TEEN]), st.integers(1, 9)), max_size=60
)


@given(SPOKEN, st.lists(st.integers(0, 540), max_size=8))
def test_utterances_do_not_depend_on_chunks_and_lose_nothing(steps: list[tuple[int, int]], cuts: list[int]) -> None:
    """Where the draft is what will be decoded: then it only brings the end forward."""
    at, spoken = 0, []
    for token, step in steps:
        at += step
        spoken.append((token, at))
    everything = tokens(*spoken)
    end = at + 1
    whole = settler()
    expected = said(whole.add(everything, tokens(), end)) + said(whole.finish())
    assert sum(len(text) for text, _ in expected) >= 0
    made, closed, first = settler(), [], 0
    for cut in [*sorted(cut for cut in cuts if cut < end), end]:
        last = int(np.searchsorted(everything.frames, cut))
        before = made.running()
        closed += made.add(everything.part(first, last), everything.part(last, len(everything)), end)
        running = made.running()
        if len(running.tokens) and len(before.tokens) and running.tokens.frames[0] == before.tokens.frames[0]:
            assert running.settled >= before.settled
        text = DETOKENIZER.text(running.tokens.token_ids[: running.settled])
        assert DETOKENIZER.text([*running.tokens.token_ids, *running.draft.token_ids]).startswith(text)
        if running.settled:
            assert DETOKENIZER.starts_word(int(running.tokens.token_ids[running.settled]))
        first = last
    closed += made.finish()
    assert said(closed) == expected
    assert [token for utterance in closed for token in utterance.tokens.token_ids.tolist()] == [t for t, _ in spoken]


@pytest.mark.parametrize("silence", [5, None])
def test_nothing_said_closes_nothing(silence: int | None) -> None:
    made = settler(silence)
    for frames in range(0, 10_000, 25):
        assert made.add(tokens(), tokens(), frames) == []
    assert made.finish() == []
