"""A recording under way, and what has become final of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from tdt.longform.skips import NEIGHBOURS, Stretch
from tdt.longform.stitching import Thread
from tdt.longform.windows import Cutter, Piece
from tdt.stages import Hypothesis

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tdt.audio import BlockReader
    from tdt.errors import TdtError
    from tdt.longform.chunking import Plan
    from tdt.text import Segmenter, Transcript

Pace: TypeAlias = Literal["file", "pipe", "live"]
# What a window has added, and whether a long pause lies before it.
Step: TypeAlias = tuple[Hypothesis, bool]


@dataclass(slots=True, eq=False)
class Recording:
    """One recording under way.

    Parameters
    ----------
    reader : BlockReader
    segmenter : Segmenter
    index : int
        Its place among several.
    thread : Thread
        Where decoding stands.
    windows : int
        Windows that are done.
    seconds : float
        Up to where all is done.
    pace : {"file", "pipe", "live"}
        How its audio comes in, see :meth:`LongForm.recording`.
    error : TdtError or None
        What ended it early.
    recent : Hypothesis
        The last tokens, as a second look may lie right after them.
    """

    reader: BlockReader
    segmenter: Segmenter
    index: int = 0
    thread: Thread = field(default_factory=Thread)
    windows: int = 0
    seconds: float = 0.0
    pace: Pace = "file"
    error: TdtError | None = None
    recent: Hypothesis = field(default_factory=Hypothesis.empty)

    @property
    def name(self) -> str:
        """What errors call it."""
        return self.reader.name

    def fail(self, error: TdtError) -> None:
        """Keep why it ends early; the first reason counts."""
        self.error = self.error or error

    def remember(self, steps: Sequence[Step]) -> None:
        """Keep the last tokens of what was added."""
        tokens = Hypothesis.concatenate([self.recent, *(step for step, _ in steps)])
        self.recent = tokens.part(max(0, len(tokens) - NEIGHBOURS), len(tokens))

    def pieces(self, plan: Plan, frame_samples: int) -> Iterator[Piece]:
        """Yield the windows from the first that is not done."""
        done = self.windows
        with self.reader:
            cutter = Cutter(plan, frame_samples, at_once=self.pace != "file")
            for number, piece in enumerate(cutter.pieces(self.reader)):
                if number >= done:
                    yield piece


class Part(NamedTuple):
    """What has become final of a recording: perhaps nothing, while `seconds` moves on.

    `steps` are the tokens that each window added, with whether a long pause lies before; they and `gaps`, frames of
    speech without a token, are enough, with the recording's state, to go on from here later. The last part of a
    recording is `done`.
    """

    recording: Recording
    transcript: Transcript | None
    steps: Sequence[Step]
    done: bool
    gaps: Sequence[Stretch] = ()
