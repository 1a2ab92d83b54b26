"""Windows on their way through the stages: blocks of a recording, batches that share a run, and rounds of all that."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tdt.ahead import Ahead
from tdt.errors import TdtError
from tdt.failures import outcome
from tdt.spec import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tdt.longform.stitching import Frames
    from tdt.longform.underway import Recording
    from tdt.longform.windows import Piece
    from tdt.stages import Features, Float32

# Audio from which windows of like length are picked for a batch: more fills batches better, and comes out later.
LOOKAHEAD_SECONDS = 120.0
# Windows from a pipe do not wait longer for others to share a run with: it may be as slow as speech.
PATIENCE_SECONDS = 0.25
# As NeMo pads a short clip; here on the right only, so that frames keep their place.
SHORTEST_WINDOW_SAMPLES = SAMPLE_RATE_HZ


class Heard(NamedTuple):
    """A window on its way: samples, then encoder frames, or the end of its recording."""

    recording: Recording
    piece: Piece | None
    frames: Frames | None = None

    @property
    def has_sound(self) -> bool:
        """Say whether there is something to be encoded."""
        return self.piece is not None and not self.piece.window.is_silent


class Batch(NamedTuple):
    """Windows that share a run: their places in the round, and their features, or why there are none."""

    members: Sequence[Heard]
    places: Sequence[int]
    features: Features | TdtError


class Round(NamedTuple):
    """The windows of a round, and its batches: features are made as they are taken."""

    windows: Sequence[Heard]
    batches: Iterable[Batch]


def prepared(planned: Round) -> Round:
    """Make all features of a round."""
    return planned._replace(batches=list(planned.batches))


def block_of(recording: Recording, pieces: Ahead[Piece] | Iterator[Piece]) -> list[Heard]:
    """Collect windows until there are enough to choose batches from, or the recording ends.

    Of a file they are always the same ones; of a pipe, those that come without a pause.
    """
    block: list[Heard] = []
    seconds = 0.0
    while seconds < LOOKAHEAD_SECONDS:
        waits = recording.pace == "pipe" and block and isinstance(pieces, Ahead)
        if waits and not pieces.comes_within(PATIENCE_SECONDS):  # type: ignore[union-attr]
            break
        piece = outcome(lambda: next(pieces, None), recording.name)
        if isinstance(piece, TdtError):
            recording.fail(piece)
            piece = None
        block.append(Heard(recording, piece))
        if piece is None or recording.pace == "live":
            break
        seconds += len(piece.samples) / SAMPLE_RATE_HZ
    return block


def samples_of(heard: Heard) -> Float32:
    """Return a window's samples, zeros after what is too short."""
    assert heard.piece is not None
    samples = heard.piece.samples
    missing = SHORTEST_WINDOW_SAMPLES - len(samples)
    return np.pad(samples, (0, missing)) if missing > 0 else samples
