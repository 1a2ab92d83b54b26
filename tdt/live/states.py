"""The states of a live stream, as a table. Every change of state is looked up here; what is not in it is refused."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from tdt.errors import StreamFinishedError

if TYPE_CHECKING:
    from tdt.errors import TdtError


class State(StrEnum):
    """Where a stream stands."""

    OPEN = "open"
    SPEECH = "in speech"
    FINISHED = "finished"
    FAILED = "failed"


class Event(StrEnum):
    """What happens to it."""

    PUSH = "push"
    TOKENS = "tokens"
    SILENCE = "silence"
    FINISH = "finish"
    FAILURE = "failure"


Table: TypeAlias = dict[State, dict[Event, State]]

# A row a state: where each event leads. Tokens are those of the running utterance, settled or draft; silence is their
# end. A failure of a run is for good; a block that is refused is no event.
TABLE: Table = {
    State.OPEN: {
        Event.PUSH: State.OPEN,
        Event.TOKENS: State.SPEECH,
        Event.SILENCE: State.OPEN,
        Event.FINISH: State.FINISHED,
        Event.FAILURE: State.FAILED,
    },
    State.SPEECH: {
        Event.PUSH: State.SPEECH,
        Event.TOKENS: State.SPEECH,
        Event.SILENCE: State.OPEN,
        Event.FINISH: State.FINISHED,
        Event.FAILURE: State.FAILED,
    },
    State.FINISHED: {Event.FINISH: State.FINISHED},
    State.FAILED: {},
}


class Course:
    """The state of one stream.

    Attributes
    ----------
    state : State
    error : TdtError or None
        What it failed with.
    """

    def __init__(self) -> None:
        self.state = State.OPEN
        self.error: TdtError | None = None

    def check(self, event: Event) -> None:
        """Refuse an event that must not happen now.

        Raises
        ------
        StreamFinishedError
            Nothing follows any more.
        TdtError
            What the stream failed with.
        """
        if event not in TABLE[self.state]:
            raise self.error or StreamFinishedError

    def go(self, event: Event) -> bool:
        """Go where an event leads; return whether that is another state. Where it must not happen, nothing changes."""
        self.check(event)
        before, self.state = self.state, TABLE[self.state][event]
        return self.state is not before

    def fail(self, error: TdtError) -> None:
        """Fail for good; the first error counts."""
        if Event.FAILURE in TABLE[self.state]:
            self.error = error
            self.go(Event.FAILURE)
