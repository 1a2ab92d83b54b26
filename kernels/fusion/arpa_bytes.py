"""The n-gram lines of an ARPA file, parsed as bytes: `weight TAB symbols [TAB back-off]`, symbols apart by one space.

A symbol is one character, which may be white space to Unicode, or one of `<s>`, `</s>`, `<unk>`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..vector.jit import inline, njit
from .symbols import BEGIN, END, OFFSET, UNKNOWN

# Why parsing stopped: no whole line is left, a line that is no n-gram, no room; or what is wrong with the line.
EXHAUSTED, NO_NGRAM, FULL, NO_TAB, WORD, LOW, TOO_FEW, TOO_MANY = range(8)

_TAB, _NEWLINE, _RETURN, _SPACE, _BACKSLASH, _LESS = 9, 10, 13, 32, 92, 60
_MINUS, _PLUS, _DOT, _ZERO, _NINE, _SMALL_E, _LARGE_E = 45, 43, 46, 48, 57, 101, 69
_BAD = -9
_POWERS = np.array([10.0**power for power in range(23)])  # all that are whole float64 numbers
_MOST_EXACT = 1 << 53
_MOST_DIGITS = 18
_CUT = (  # UTF-8: least leading byte, bits of it that count, bytes that follow
    (0xF0, 0x07, 3),
    (0xE0, 0x0F, 2),
    (0xC2, 0x1F, 1),
)


@inline
def _number(text: Any, at: int, end: int) -> Any:
    """Return (value, True) of a decimal number whose float64 is one exact product or quotient, else (0, False)."""
    negative = at < end and text[at] == _MINUS
    if at < end and (negative or text[at] == _PLUS):
        at += 1
    digits, whole, scale, dot = 0, np.int64(0), 0, False
    while at < end:
        byte = text[at]
        if _ZERO <= byte <= _NINE:
            digits += 1
            if digits > _MOST_DIGITS:
                return 0.0, False
            whole = whole * 10 + np.int64(byte - _ZERO)
            scale += dot
        elif byte == _DOT and not dot:
            dot = True
        else:
            break
        at += 1
    if digits == 0 or whole > _MOST_EXACT:
        return 0.0, False
    if at < end and (text[at] == _SMALL_E or text[at] == _LARGE_E):
        power, at, fine = _exponent(text, at + 1, end)
        if not fine:
            return 0.0, False
        scale -= power
    if at != end or not -23 < scale < 23:
        return 0.0, False
    value = whole / _POWERS[scale] if scale >= 0 else whole * _POWERS[-scale]
    return -value if negative else value, True


@inline
def _exponent(text: Any, at: int, end: int) -> Any:
    """Return a whole number of at most three digits, where it ends, and whether there is one."""
    negative = at < end and text[at] == _MINUS
    if at < end and (negative or text[at] == _PLUS):
        at += 1
    first = at
    power: Any = 0
    while at < end and at - first < 3 and _ZERO <= text[at] <= _NINE:
        power = power * 10 + np.int64(text[at] - _ZERO)
        at += 1
    return -power if negative else power, at, at > first


@inline
def _symbol(text: Any, at: int, end: int) -> Any:
    """Return the id of the symbol at `at` and where it ends; _BAD where it is no character from OFFSET on."""
    byte = np.int64(text[at])
    if byte == _LESS:
        return _marker(text, at, end)
    if byte < 0x80:
        return (byte - OFFSET if byte >= OFFSET else _BAD), at + 1
    for lead, bits, more in _CUT:
        if byte >= lead:
            if at + more >= end:
                return _BAD, at + 1
            code = byte & bits
            for place in range(at + 1, at + 1 + more):
                if text[place] & 0xC0 != 0x80:
                    return _BAD, at + 1
                code = code << 6 | np.int64(text[place] & 0x3F)
            return (code - OFFSET if code <= 0x10FFFF else _BAD), at + 1 + more
    return _BAD, at + 1


@inline
def _marker(text: Any, at: int, end: int) -> Any:
    """Return which of `<s>`, `</s>`, `<unk>` stands at `at`, and where it ends."""
    if at + 3 <= end and (text[at + 1] | 32) == 115 and text[at + 2] == 62:
        return BEGIN, at + 3
    if at + 4 <= end and text[at + 1] == 47 and (text[at + 2] | 32) == 115 and text[at + 3] == 62:
        return END, at + 4
    unknown = at + 5 <= end and (text[at + 1] | 32) == 117 and (text[at + 2] | 32) == 110
    if unknown and (text[at + 3] | 32) == 107 and text[at + 4] == 62:
        return UNKNOWN, at + 5
    return _BAD, at + 1


@inline
def _symbols(text: Any, at: int, end: int, out: Any) -> Any:
    """Write the symbols from `at` on; return where they end, and what is wrong, EXHAUSTED for nothing."""
    order = len(out)
    for place in range(order):
        if at >= end or text[at] == _TAB:
            return at, TOO_FEW
        if text[at] == _SPACE:
            return at, LOW
        out[place], at = _symbol(text, at, end)
        if at < end and text[at] != _SPACE and text[at] != _TAB:
            return at, WORD
        if out[place] == _BAD:
            return at, LOW
        if place < order - 1:
            if at >= end or text[at] == _TAB:
                return at, TOO_FEW
            at += 1
    return at, (TOO_MANY if at < end and text[at] != _TAB else EXHAUSTED)


@njit
def parse_ngrams(text: Any, at: int, symbols: Any, numbers: Any, exact: Any) -> Any:
    """Parse lines until one is no n-gram.

    Parameters
    ----------
    text : ndarray [shape=(n,)], uint8
        Whole lines, the last newline included.
    at : int
        Where to begin.
    symbols : ndarray [shape=(rows, order)], int32
        Filled: ids of the pieces, or BEGIN, END, UNKNOWN.
    numbers : ndarray [shape=(rows, 2)], float64
        Filled: weight and back-off (0 where there is none), as they stand; or where in `text` they begin.
    exact : ndarray [shape=(rows, 2)], bool
        Filled: whether they are the numbers. The others are not in plain notation, or have so many digits that one
        product would not round them as :class:`float` does.

    Returns
    -------
    rows : int
        How many lines were parsed.
    at : int
        Where the next line begins.
    reason : int
        EXHAUSTED, NO_NGRAM (the line is empty or begins with a backslash), FULL, or what is wrong with the line.
    """
    row, size = 0, len(text)
    while at < size:
        if text[at] == _NEWLINE or text[at] == _RETURN or text[at] == _BACKSLASH:
            return row, at, NO_NGRAM
        if row == len(symbols):
            return row, at, FULL
        end = at
        while text[end] != _NEWLINE:
            end += 1
        last = end - 1 if text[end - 1] == _RETURN else end
        tab = at
        while tab < last and text[tab] != _TAB:
            tab += 1
        if tab == last:
            return row, at, NO_TAB
        value, plain = _number(text, at, tab)
        numbers[row, 0], exact[row, 0] = (value if plain else np.float64(at)), plain
        after, wrong = _symbols(text, tab + 1, last, symbols[row])
        if wrong != EXHAUSTED:
            return row, at, wrong
        numbers[row, 1], exact[row, 1] = 0.0, True
        if after < last:
            value, plain = _number(text, after + 1, last)
            numbers[row, 1], exact[row, 1] = (value if plain else np.float64(after + 1)), plain
        row += 1
        at = end + 1
    return row, at, EXHAUSTED
