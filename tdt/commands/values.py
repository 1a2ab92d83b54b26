"""What option values are read by: each refuses what cannot be used, and says what was given and what was expected.

Numbers are plain ASCII (`8`, `2.5`, `1e3`) and lie within bounds that the option states; infinity, NaN, hexadecimal and
the digits of other scripts are no numbers here. For argparse: each is called with the text and raises its error.
"""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tdt.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable

_WHOLE = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_SIZE = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([KMGT]?)", re.IGNORECASE)
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
# Longer texts are numbers beyond any bound, and the interpreter itself refuses to read the longest.
_MOST_CHARACTERS = 40
_SHOWN_CHARACTERS = 60
PICTURE_SUFFIXES = (".png", ".svg", ".pdf")


class Expecting(Protocol):
    """Reads a text, and can say what it takes."""

    @property
    def expected(self) -> str:
        """What stands after "expected" in an error."""
        ...

    def __call__(self, text: str) -> object:
        """Read the text."""
        ...


def refuse(text: str, expected: str) -> ArgumentTypeError:
    """Return the error for a value: what was given, what was expected."""
    shown = text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."
    return ArgumentTypeError(f"{shown!r} cannot be used: expected {expected}")


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number from `least` to `most`."""

    least: int
    most: int

    @property
    def expected(self) -> str:
        """What is taken."""
        return f"a whole number from {self.least} to {self.most}"

    def __call__(self, text: str) -> int:
        """Read the number."""
        if _WHOLE.fullmatch(text) and len(text) <= _MOST_CHARACTERS and self.least <= int(text) <= self.most:
            return int(text)
        raise refuse(text, self.expected)


@dataclass(frozen=True, slots=True)
class Number:
    """A number from `least` to `most`; `above` leaves out `least` itself."""

    least: float
    most: float
    unit: str = ""
    above: bool = False

    @property
    def expected(self) -> str:
        """What is taken."""
        bounds = f"above {self.least:g} and up to" if self.above else f"from {self.least:g} to"
        return f"a number {bounds} {self.most:g}{' ' + self.unit if self.unit else ''}"

    def __call__(self, text: str) -> float:
        """Read the number."""
        if _NUMBER.fullmatch(text) and len(text) <= _MOST_CHARACTERS:
            value = float(text)
            if self.least <= value <= self.most and not (self.above and value == self.least):
                return value
        raise refuse(text, self.expected)


def seconds(least: float, most: float = 86_400.0) -> Number:
    """Return what reads a time from `least` seconds to `most`, by default a day."""
    return Number(least, most, "seconds")


@dataclass(frozen=True, slots=True)
class Size:
    """A number of bytes between two powers of two, such as 800M or 4G."""

    least: int = 1 << 20
    most: int = 1 << 44

    @property
    def expected(self) -> str:
        """What is taken."""
        return f"a size from {_size_text(self.least)} to {_size_text(self.most)}, such as 500M or 4G"

    def __call__(self, text: str) -> int:
        """Read the size."""
        found = _SIZE.fullmatch(text)
        if found and len(text) <= _MOST_CHARACTERS:
            value = int(float(found[1]) * (1 << _UNITS[found[2].upper()]))
            if self.least <= value <= self.most:
                return value
        raise refuse(text, self.expected)


def _size_text(size: int) -> str:
    unit = max((unit for unit, bits in _UNITS.items() if size >> bits), key=_UNITS.__getitem__)
    return f"{size >> _UNITS[unit]}{unit}"


@dataclass(frozen=True, slots=True)
class Listed:
    """Values of one kind, separated by commas; `word` stands alone for none of them."""

    item: Expecting
    word: str = ""

    @property
    def expected(self) -> str:
        """What is taken."""
        alone = f"; or {self.word}" if self.word else ""
        kind = "numbers separated by commas, each " if isinstance(self.item, (Whole, Number)) else "commas between: "
        return f"{kind}{self.item.expected}{alone}"

    def __call__(self, text: str) -> tuple[object, ...]:
        """Read the values."""
        if self.word and text == self.word:
            return ()
        try:
            return tuple(self.item(word.strip(" ")) for word in text.split(","))
        except ArgumentTypeError as error:
            raise refuse(text, self.expected) from error


@dataclass(frozen=True, slots=True)
class Words:
    """One of some words or, where `otherwise` is given, what that reads; the text itself is the value."""

    words: tuple[str, ...]
    otherwise: Expecting | None = None

    @property
    def expected(self) -> str:
        """What is taken."""
        return ", ".join(self.words) + (f", or {self.otherwise.expected}" if self.otherwise else "")

    def __call__(self, text: str) -> str:
        """Check the text."""
        if text not in self.words:
            if self.otherwise is None:
                raise refuse(text, "some of " + self.expected)
            try:
                self.otherwise(text)
            except ArgumentTypeError as error:
                raise refuse(text, self.expected) from error
        return text


def path(text: str) -> str:
    """Read the name of a file or folder."""
    if not text:
        raise refuse(text, "the name of a file or folder")
    return text


def names(text: str) -> tuple[str, ...]:
    """Return names with commas between, in small letters."""
    found = tuple(name.strip().lower() for name in text.split(","))
    if not all(found):
        raise refuse(text, "names with commas between")
    return found


def picture(text: str) -> str:
    """Read the name of a picture to be drawn."""
    if Path(text).suffix.lower() not in PICTURE_SUFFIXES:
        raise refuse(text, "a file name that ends in .png, .svg or .pdf")
    return text


def provider(text: str) -> str:
    """Read an execution provider; the text itself is the value."""
    from tdt.runtime import Backend

    return _checked(text, Backend.parse)


def provider_or_auto(text: str) -> str:
    """Read an execution provider, or `auto` for the one that suits the model and the machine."""
    return text if text == "auto" else provider(text)


def variant(text: str) -> str:
    """Read a model with the provider and precision that it runs in; the text itself is the value."""
    from tdt.quantization import Variant

    return _checked(text, Variant.parse)


def targets(text: str) -> str:
    """Read the cards that engines are built for; the text itself is the value."""
    from tdt.quantization import parse_targets

    return _checked(text, parse_targets)


def confidence(text: str) -> str:
    """Read how confidences are made; the text itself is the value."""
    from tdt.text import confidence_of

    return _checked(text, confidence_of)


def _checked(text: str, parse: Callable[[str], object]) -> str:
    try:
        parse(text)
    except OptionError as error:
        raise refuse(text, str(error).partition("expected ")[2].rstrip(".")) from error
    return text
