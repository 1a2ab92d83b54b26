"""The bytes of an ARPA file, a few megabytes at a time, of plain text or gzip; what is no ARPA text is named."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from contextlib import contextmanager
from math import inf
from typing import IO, TYPE_CHECKING

from tdt.errors import LanguageModelError, LanguageModelNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOCK = 4 << 20
GZIP = b"\x1f\x8b"
# Texts shrink to a fifth or so; what grows a hundredfold is no language model.
MOST_GROWTH, FREE_GROWTH = 100, 64 << 20
AGAIN = "Copy or download the file again"
BUILD = "Parakeet needs a model of its pieces as text: make one with `tdt lm build`"

_FOREIGN = (
    (b"mmap lm http://kheafield.com/code", "a binary of KenLM", "Take the ARPA text that it was made from"),
    (b"PK\x03\x04", "a zip archive", "Unpack it, and pass the .arpa in it"),
    (b"BZh", "compressed by bzip2", "Unpack it with bunzip2"),
    (b"\xfd7zXZ", "compressed by xz", "Unpack it with unxz"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "Unpack it with unzstd"),
    (b"\xff\xfe", "UTF-16 text", "Write it in UTF-8"),
    (b"\xfe\xff", "UTF-16 text", "Write it in UTF-8"),
    (b"iARPA", "a model in IRSTLM's own format", "Write it as ARPA: compile-lm --text=yes"),
)
_SOMETHING = re.compile(rb"\S")
_TAR_MARK = slice(257, 262)


class Text:
    """Lines of a file, and blocks of whole lines.

    Parameters
    ----------
    path : Path
        Named in errors.
    file : binary file
    most_bytes : float
        More are not read.

    Attributes
    ----------
    data : bytes
        What was read last; ends with a newline up to `complete`.
    at : int
        Where the next line begins in it.
    complete : int
        Where the whole lines end.
    number : int
        Number of the next line, from 1.
    """

    def __init__(self, path: Path, file: IO[bytes], most_bytes: float = inf) -> None:
        self.path = path
        self._file, self._left, self._ended = file, most_bytes, False
        self.data, self.at, self.complete, self.number = b"", 0, 0, 1
        self.refill()
        self._recognise()

    def fail(self, problem: str, remedy: str = AGAIN, line: int | None = None) -> LanguageModelError:
        """Return the error about a line, the next one if none is named."""
        return LanguageModelError(self.path, problem, remedy, self.number if line is None else line)

    def refill(self) -> bool:
        """Read on; return whether there are whole lines."""
        if self._ended:
            return self.at < self.complete
        try:
            more = self._file.read(BLOCK)
        except EOFError as error:
            raise self.fail("the compressed text breaks off", line=0) from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise self.fail(f"the compressed text is damaged ({error})", line=0) from error
        except OSError as error:
            raise self.fail(f"it cannot be read ({error.strerror})", "Check the file and the disk", 0) from error
        self._left -= len(more)
        if self._left < 0:
            raise self.fail(f"it holds more than {MOST_GROWTH} times what it takes on the disk", line=0)
        self._ended = not more
        rest = self.data[self.at :]
        self.data = rest + more if more or not rest or rest.endswith(b"\n") else rest + b"\n"
        self.at, self.complete = 0, self.data.rfind(b"\n") + 1
        if not self.complete and len(self.data) >= BLOCK:
            raise self.fail(f"the line is longer than {len(self.data)} bytes", "Check that the file is an ARPA text")
        return self.complete > 0 or (not self._ended and self.refill())

    def peek(self) -> bytes | None:
        """Return the next line without its end; None after the last one."""
        if self.at >= self.complete and not self.refill():
            return None
        return self.data[self.at : self.data.index(b"\n", self.at)].rstrip(b"\r")

    def skip(self) -> None:
        """Go to the line after the one peeked at."""
        self.at = self.data.index(b"\n", self.at) + 1
        self.number += 1

    def skip_empty(self) -> bytes | None:
        """Go to the next line that holds something and return it, stripped."""
        while self.at < self.complete or self.refill():
            found = _SOMETHING.search(self.data, self.at, self.complete)
            end = found.start() if found else self.complete
            if empty := self.data.count(b"\n", self.at, end):
                self.number += empty
                self.at = self.data.rindex(b"\n", self.at, end) + 1
            if found:
                return (self.peek() or b"").strip()
        return None

    def _recognise(self) -> None:
        """Refuse formats known by their first bytes, by name."""
        if not self.data:
            raise self.fail("it is empty", AGAIN, 0)
        for begin, name, remedy in _FOREIGN:
            if self.data.startswith(begin):
                raise self.fail(f"this is {name}, not an ARPA text", remedy, 0)
        if self.data[_TAR_MARK] == b"ustar":
            what = "a .nemo or other tar archive, not an ARPA text"
            raise self.fail(f"this is {what}", "Take the ARPA text that it was made from", 0)
        if self.data.startswith(b"\xef\xbb\xbf"):
            self.at = 3


@contextmanager
def open_text(path: Path) -> Iterator[Text]:
    """Open an ARPA file, compressed or not.

    Raises
    ------
    LanguageModelNotFoundError
    LanguageModelError
        It cannot be read, or holds something else.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise LanguageModelNotFoundError(
            path, "there is no such file", "Check the name, or make it with `tdt lm build`"
        ) from error
    except OSError as error:
        raise LanguageModelError(path, f"it cannot be read ({error.strerror})", "Pass an ARPA file") from error
    with file:
        if file.peek(len(GZIP))[: len(GZIP)] == GZIP:  # looked at, not read: pipes do not go back
            size = os.fstat(file.fileno()).st_size
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield Text(path, unpacked, MOST_GROWTH * size + FREE_GROWTH)  # type: ignore[arg-type]
        elif path.suffix == ".gz":
            raise LanguageModelError(
                path, "its name ends in .gz, but it is not compressed by gzip", "Rename or copy it again"
            )
        else:
            yield Text(path, file)
