"""How far two token sequences agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.profiling import edit_distance

if TYPE_CHECKING:
    from collections.abc import Sequence


def tokens_equal(reference: Sequence[Sequence[int]], other: Sequence[Sequence[int]]) -> float:
    """Return the share of reference tokens that survive, 1 minus edits by tokens, over all clips; at least 0."""
    count = sum(len(tokens) for tokens in reference)
    edits = sum(edit_distance(left, right) for left, right in zip(reference, other, strict=True))
    if count == 0:
        return 1.0 if edits == 0 else 0.0
    return max(0.0, 1.0 - edits / count)
