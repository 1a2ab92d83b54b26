"""Phrases that come again and again: what a decoder does that is given too much weight."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_REPEATS = 8


class Repeat(NamedTuple):
    """A phrase, how many times in a row it stands, and the place of its first token."""

    phrase: str
    times: int
    start: int


def repeats(
    token_ids: Sequence[int], phrases: Mapping[tuple[int, ...], str], most: int = MOST_REPEATS
) -> tuple[Repeat, ...]:
    """Return the phrases that stand more than `most` times in a row, from left to right.

    Parameters
    ----------
    token_ids : sequence of int
        What was recognised, L tokens.
    phrases : mapping
        Token ids → phrase (:meth:`tdt.Phrases.sequences`).
    most : int
        At least 1.

    Returns
    -------
    tuple of Repeat
        In time L² / `most` at worst, whatever the number of phrases: only lengths that fit more than `most` times are
        looked at, and only runs of equal tokens at that distance.
    """
    tokens = tuple(token_ids)
    found = []
    for length in range(1, len(tokens) // (most + 1) + 1):
        begin = 0
        while begin + length < len(tokens):
            end = begin
            while end + length < len(tokens) and tokens[end] == tokens[end + length]:
                end += 1
            if end - begin >= most * length:
                found += _within(tokens, begin, end + length, length, phrases, most)
            begin = end + 1
    return tuple(sorted(found, key=lambda repeat: (repeat.start, repeat.phrase)))


def _within(
    tokens: tuple[int, ...], begin: int, end: int, length: int, phrases: Mapping[tuple[int, ...], str], most: int
) -> list[Repeat]:
    """Return the phrases of `length` tokens in a stretch that is equal to itself so many tokens later."""
    found: dict[str, Repeat] = {}
    for start in range(begin, begin + length):
        phrase, count = phrases.get(tokens[start : start + length]), (end - start) // length
        if phrase is not None and count > most:
            found.setdefault(phrase, Repeat(phrase, count, start))
    return list(found.values())
