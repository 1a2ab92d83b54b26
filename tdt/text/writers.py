"""Output that grows with a running recording: a valid file after every step, whatever ends the run."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Protocol

from tdt.text.render import VTT_HEADER, as_json, srt_blocks, vtt_blocks
from tdt.text.segmenting import merged
from tdt.text.subtitles import cues

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tdt.text.transcript import Transcript

# A JSON object cannot be appended to; writing it anew may take this part of the time.
REWRITE_SHARE = 0.05


class Growing(Protocol):
    """Turns parts of a transcript into text that is appended to what stands."""

    def begin(self) -> str:
        """Return what stands before all parts."""
        ...

    def add(self, part: Transcript) -> str:
        """Return what a part adds."""
        ...

    def close(self, audio_seconds: float) -> str:
        """Return what the end adds."""
        ...


class GrowingText:
    """All on one line, as the format `txt` has it."""

    def __init__(self) -> None:
        self._begun = False

    def begin(self) -> str:
        """Return nothing."""
        return ""

    def add(self, part: Transcript) -> str:
        """Return the part's text."""
        text = " " * (self._begun and bool(part.text)) + part.text
        self._begun = self._begun or bool(part.text)
        return text

    def close(self, audio_seconds: float) -> str:  # noqa: ARG002
        """End the line."""
        return "\n"


class GrowingSrt:
    """Cues with running numbers."""

    def __init__(self) -> None:
        self._following, self._end_ms = 1, 0

    def begin(self) -> str:
        """Return nothing."""
        return ""

    def add(self, part: Transcript) -> str:
        """Return the part's cues."""
        shown = cues(part, self._end_ms)
        text = "".join(srt_blocks(shown, self._following))
        self._following += len(shown)
        self._end_ms = shown[-1].end_ms if shown else self._end_ms
        return text

    def close(self, audio_seconds: float) -> str:  # noqa: ARG002
        """Return nothing."""
        return ""


class GrowingVtt:
    """A header, and cues."""

    def __init__(self) -> None:
        self._end_ms = 0

    def begin(self) -> str:
        """Return the header."""
        return VTT_HEADER

    def add(self, part: Transcript) -> str:
        """Return the part's cues."""
        shown = cues(part, self._end_ms)
        self._end_ms = shown[-1].end_ms if shown else self._end_ms
        return "".join(vtt_blocks(shown))

    def close(self, audio_seconds: float) -> str:  # noqa: ARG002
        """Return nothing."""
        return ""


class GrowingJson:
    """One object that comes at the end, for where nothing can be taken back.

    Parameters
    ----------
    file : str
        Name of the source.
    """

    def __init__(self, file: str) -> None:
        self._file = file
        self._parts: list[Transcript] = []

    def begin(self) -> str:
        """Return nothing."""
        return ""

    def add(self, part: Transcript) -> str:
        """Keep the part."""
        self._parts.append(part)
        return ""

    def close(self, audio_seconds: float) -> str:
        """Return the object."""
        return self.whole(audio_seconds)

    def whole(self, audio_seconds: float | None = None) -> str:
        """Return the object over the parts so far."""
        return as_json(merged(self._parts, audio_seconds), file=self._file)


def growing(style: str, file: str) -> Growing:
    """Return the growing form of a format."""
    if style == "json":
        return GrowingJson(file)
    kinds: dict[str, Callable[[], Growing]] = {"txt": GrowingText, "srt": GrowingSrt, "vtt": GrowingVtt}
    return kinds[style]()


class FileWriter:
    """Writes a file that is valid at any time: text is appended in one piece, JSON replaced as a whole now and then.

    Parameters
    ----------
    path : Path
    style : {"txt", "json", "srt", "vtt"}
    file : str
        Name of the source.
    replace : callable
        Writes a text file whole or not at all.
    """

    def __init__(self, path: Path, style: str, file: str, replace: Callable[[Path, str], None]) -> None:
        self.path = path
        self._growing = growing(style, file)
        self._replace = replace
        self._rewritten = self._rewriting = 0.0

    def begin(self, parts: Sequence[Transcript] = ()) -> None:
        """Make the file, with the parts that a run before has left."""
        text = self._growing.begin() + "".join([self._growing.add(part) for part in parts])
        self._replace(self.path, self._json() if isinstance(self._growing, GrowingJson) else text)

    def add(self, part: Transcript) -> None:
        """Add a part."""
        text = self._growing.add(part)
        if isinstance(self._growing, GrowingJson):
            now = time.monotonic()
            if (now - self._rewritten) * REWRITE_SHARE >= self._rewriting:
                self._replace(self.path, self._json())
                self._rewritten = time.monotonic()
                self._rewriting = self._rewritten - now
        else:
            self._append(text)

    def pause(self) -> None:
        """Bring the file up to the last part: the run ends early."""
        if isinstance(self._growing, GrowingJson):
            self._replace(self.path, self._json())

    def close(self, audio_seconds: float) -> None:
        """Write the end."""
        text = self._growing.close(audio_seconds)
        if isinstance(self._growing, GrowingJson):
            self._replace(self.path, text)
        else:
            self._append(text)

    def _json(self) -> str:
        assert isinstance(self._growing, GrowingJson)
        return self._growing.whole()

    def _append(self, text: str) -> None:
        if not text:
            return
        # One unbuffered write: a killed process leaves all of it or none.
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            left = memoryview(text.encode("utf-8"))
            while left:
                left = left[os.write(descriptor, left) :]
        finally:
            os.close(descriptor)


class ConsoleWriter:
    """Writes parts as they come.

    Parameters
    ----------
    style : {"txt", "json", "srt", "vtt"}
    file : str
        Name of the source.
    write : callable
        Takes text, and puts it out at once.
    """

    def __init__(self, style: str, file: str, write: Callable[[str], None]) -> None:
        self._growing = growing(style, file)
        self._write = write

    def begin(self, parts: Sequence[Transcript] = ()) -> None:
        """Put out what stands before all parts, and the parts that a run before has left."""
        self._write(self._growing.begin() + "".join([self._growing.add(part) for part in parts]))

    def add(self, part: Transcript) -> None:
        """Put out a part."""
        self._write(self._growing.add(part))

    def pause(self) -> None:
        """End the line: the run ends early."""
        self._write("\n" if isinstance(self._growing, GrowingText) else "")

    def close(self, audio_seconds: float) -> None:
        """Put out the end."""
        self._write(self._growing.close(audio_seconds))
