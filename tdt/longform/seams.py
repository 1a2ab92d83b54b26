"""Where one window's tokens end and the next one's begin, in a stretch that both have decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

# Frames by which two windows may differ on when the same token was emitted.
SEAM_TOLERANCE = 3


class Seam(NamedTuple):
    """Tokens of the earlier window to keep, and of the later window to drop, in the stretch both have decoded."""

    keep: int
    drop: int


def join(
    earlier_ids: Sequence[int],
    earlier_frames: Sequence[int],
    later_ids: Sequence[int],
    later_frames: Sequence[int],
    cut: int,
) -> Seam:
    """Return where the later window takes over from the earlier one.

    Both have decoded the frames around `cut` from the same state. They change over within the longest run of tokens
    which both emitted, at most three frames apart; of equally long runs, the one nearest to the cut. Without any, each
    keeps what lies on its side of the cut.

    Parameters
    ----------
    earlier_ids, earlier_frames, later_ids, later_frames : sequence of int
        Tokens of the common stretch, in order.
    cut : int
        Frame.
    """
    best: tuple[int, int, int, int] | None = None
    for i in range(len(earlier_ids)):
        for j in range(len(later_ids)):
            length = 0
            while (
                i + length < len(earlier_ids)
                and j + length < len(later_ids)
                and earlier_ids[i + length] == later_ids[j + length]
                and abs(earlier_frames[i + length] - later_frames[j + length]) <= SEAM_TOLERANCE
            ):
                length += 1
            if length:
                middle = earlier_frames[i + length // 2]
                candidate = (length, -abs(middle - cut), i, j)
                best = candidate if best is None or candidate > best else best
    if best is None:
        return Seam(sum(f < cut for f in earlier_frames), sum(f < cut for f in later_frames))
    length, _, i, j = best
    before = sum(frame < cut for frame in earlier_frames[i : i + length])
    return Seam(i + before, j + before)
