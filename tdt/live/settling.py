"""Tokens in, utterances out: what of a running utterance is settled, what is draft, and where it closes.

A word is settled when a later token begins another, or its utterance closes, so that what is called final never ends in
half a word. Nothing here depends on how the audio was cut into chunks but the draft.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tdt.live.endpoint import fired
from tdt.stages import Hypothesis
from tdt.text import SEGMENT_SEPARATORS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.live.endpoint import Boundary, EndRule
    from tdt.text import Detokenizer


class Closed(NamedTuple):
    """An utterance that is closed, and the rule that closed it: "silence", "sentence", "length" or "end"."""

    tokens: Hypothesis
    rule: str


class Running(NamedTuple):
    """The running utterance.

    Parameters
    ----------
    tokens : Hypothesis
        Those that stay.
    settled : int
        How many of them belong to settled words.
    draft : Hypothesis
        What may follow.
    """

    tokens: Hypothesis
    settled: int
    draft: Hypothesis


class Settler:
    """Puts the tokens of a stream in utterances.

    Parameters
    ----------
    pieces : Detokenizer
        Of the vocabulary.
    rules : sequence of EndRule
        What closes an utterance.
    """

    def __init__(self, pieces: Detokenizer, rules: Sequence[EndRule]) -> None:
        self._pieces = pieces
        self._rules = rules
        self._held: list[Hypothesis] = []
        self._draft = Hypothesis.empty()
        self._count = self._settled = self._start = self._end = 0  # tokens, of settled words; frames
        self._ends_sentence = False

    def add(self, tokens: Hypothesis, draft: Hypothesis, heard_frames: int) -> list[Closed]:
        """Take the tokens of the next chunk; return the utterances that are closed now.

        Parameters
        ----------
        tokens : Hypothesis
            They stay; frames count from the start of the stream.
        draft : Hypothesis
            What the right context says. Where it says nothing for long enough, that is silence, too.
        heard_frames : int
            Up to where the draft reaches.
        """
        closed: list[Closed] = []
        first = 0
        for index, (token, frame, duration) in enumerate(
            zip(tokens.token_ids.tolist(), tokens.frames.tolist(), tokens.durations.tolist(), strict=True)
        ):
            mark = self._is_mark(token)
            starts_word = not mark and self._pieces.starts_word(token)
            rule = None if mark else self._fired(frame, starts_word=starts_word)
            if rule is not None:
                closed.append(self._close(tokens.part(first, index), rule))
                first = index
            if not self._count:
                self._start = self._end = frame
            elif starts_word:
                self._settled = self._count
            # A mark may be emitted long after its word, amid a silence, and does not shorten it.
            self._end = max(self._end, frame + duration) if not mark or not self._count else self._end
            self._ends_sentence = self._pieces.alone(token)[-1:] in SEGMENT_SEPARATORS
            self._count += 1
        if self._count:
            self._held.append(tokens.part(first, len(tokens)))
        rule = self._ended_by_silence(draft, heard_frames)
        if rule is not None:
            closed.append(self._close(Hypothesis.empty(), rule))
        self._draft = draft
        return closed

    def finish(self) -> list[Closed]:
        """Close what is running: nothing follows."""
        self._draft = Hypothesis.empty()
        return [self._close(Hypothesis.empty(), "end")] if self._count else []

    def running(self) -> Running:
        """Return the utterance that is not closed; without tokens and draft where there is none."""
        held = Hypothesis.concatenate(self._held)
        self._held = [held]
        return Running(held, self._settled, self._draft)

    def _fired(self, frame: int, *, starts_word: bool) -> str | None:
        """Return the rule that closes the utterance before a token, or None."""
        if not self._count:
            return None
        ended: Boundary = "word part" if not starts_word else "sentence" if self._ends_sentence else "word"
        rule = fired(self._rules, self._end - self._start, frame - self._end, ended)
        return None if rule is None else rule.name

    def _ended_by_silence(self, draft: Hypothesis, heard_frames: int) -> str | None:
        if not self._count or (len(draft) and self._is_mark(int(draft.token_ids[0]))):
            return None  # a mark to come belongs to this utterance
        silent_until = int(draft.frames[0]) if len(draft) else heard_frames
        rule = fired(self._rules, self._end - self._start, silent_until - self._end, "word part")
        return None if rule is None else rule.name

    def _close(self, tokens: Hypothesis, rule: str) -> Closed:
        closed = Closed(Hypothesis.concatenate([*self._held, tokens]), rule)
        self._held.clear()
        self._count = self._settled = self._start = self._end = 0
        return closed

    def _is_mark(self, token: int) -> bool:
        return self._pieces.alone(token) in self._pieces.punctuation
