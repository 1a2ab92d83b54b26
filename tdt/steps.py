"""What every step of decoding is measured by: blanks and durations, which tokens alone do not tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]
    Int32 = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """Measures of the steps that led to a hypothesis, beside those of its tokens.

    A step is an evaluation of the joint: it gave a token or a blank, and a duration. Each measure is a pair: the
    log-probability of the best, and the entropy confidence of the distribution.

    Parameters
    ----------
    durations : ndarray [shape=(N, 2)], float32
        Of the durations, by token.
    blank_frames : ndarray [shape=(M,)], int32
        Encoder frames at which blanks were found, ascending. A blank follows all tokens of its frame.
    blanks : ndarray [shape=(M, 4)], float32
        By blank: the pair of the token slice, and the pair of the durations.
    """

    durations: Float32
    blank_frames: Int32
    blanks: Float32

    def owners(self, frames: Int32) -> npt.NDArray[np.int64]:
        """Return how many tokens, which stand at these frames, lie before each blank."""
        return np.searchsorted(frames, self.blank_frames, side="right")

    def part(self, frames: Int32, first: int, last: int) -> Steps:
        """Return the steps of tokens `first` to `last` (exclusive) of those at these frames.

        Blanks go with the token before them; those before any token go with the first part.
        """
        owners = self.owners(frames)
        inside = (owners > first) & (owners <= last) | ((owners == 0) & (first == 0))
        return Steps(self.durations[first:last], self.blank_frames[inside], self.blanks[inside])

    @staticmethod
    def joined(parts: Sequence[Steps]) -> Steps:
        """Return the steps of all, in order; a blank at a frame that was heard before counts once."""
        frames: list[Int32] = []
        blanks: list[Float32] = []
        heard = -1
        for part in parts:
            new = part.blank_frames > heard
            if new.any():
                frames.append(part.blank_frames[new])
                blanks.append(part.blanks[new])
                heard = int(frames[-1][-1])
        return Steps(
            np.concatenate([part.durations for part in parts]),
            np.concatenate(frames) if frames else np.zeros(0, np.int32),
            np.concatenate(blanks) if blanks else np.zeros((0, 4), np.float32),
        )
