"""What `tdt listen` shows: a running line on a terminal, elsewhere objects, text or subtitles."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

from tdt.commands.streams import print_out
from tdt.text import ConsoleWriter, Transcript, Word, rounded

if TYPE_CHECKING:
    from collections.abc import Callable

    from tdt.live import Update

AUTO = "auto"
STYLES = (AUTO, "text", "json", "srt", "vtt")


class Captions(Protocol):
    """Shows updates."""

    def begin(self) -> None:
        """Show what stands before all."""
        ...

    def show(self, update: Update) -> None:
        """Show one."""
        ...

    def end(self, audio_seconds: float) -> None:
        """Show what stands after all."""
        ...


class Objects:
    """One JSON object a line, for each update."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def begin(self) -> None:
        """Show nothing."""

    def show(self, update: Update) -> None:
        """Write the object."""
        self._write(json.dumps(rounded(asdict(update)), ensure_ascii=False, allow_nan=False) + "\n")

    def end(self, audio_seconds: float) -> None:
        """Show nothing."""


class Lines:
    """Each utterance on a line of its own, once it is closed."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def begin(self) -> None:
        """Show nothing."""

    def show(self, update: Update) -> None:
        """Write what is final."""
        if update.kind == "final" and update.final:
            self._write(update.final + "\n")

    def end(self, audio_seconds: float) -> None:
        """Show nothing."""


class Subtitles:
    """Cues of each utterance, once it is closed.

    Parameters
    ----------
    style : {"srt", "vtt"}
    write : callable
    """

    def __init__(self, style: str, write: Callable[[str], None]) -> None:
        self._writer = ConsoleWriter(style, "", write)

    def begin(self) -> None:
        """Write the header."""
        self._writer.begin()

    def show(self, update: Update) -> None:
        """Write the cues of what is final."""
        if update.kind == "final" and update.words:
            words = tuple(Word(word.text, word.start, word.end, word.confidence) for word in update.words)
            self._writer.add(Transcript(update.final, (), words, (), update.end))

    def end(self, audio_seconds: float) -> None:
        """Write the end."""
        self._writer.close(audio_seconds)


class Screen:
    """The running utterance in one place that is rewritten, its draft set apart; closed ones stay above it.

    Parameters
    ----------
    console : rich.console.Console, optional
    """

    def __init__(self, console: Any = None) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        self._console = Console() if console is None else console
        self._text = Text
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def begin(self) -> None:
        """Take the place."""
        self._live.start()

    def show(self, update: Update) -> None:
        """Rewrite it, or leave what is final above it."""
        if update.kind == "final":
            self._live.update(self._text(""), refresh=True)
            if update.final:
                self._console.print(self._text(update.final))
        elif update.kind == "partial":
            line = self._text(update.final)
            line.append(update.draft, style="dim italic")
            self._live.update(line, refresh=True)

    def end(self, audio_seconds: float) -> None:  # noqa: ARG002
        """Give the place back."""
        self._live.stop()


def captions(style: str) -> Captions:
    """Return what shows updates in a style; "auto" is the screen where there is one, else objects."""
    terminal = sys.stdout is not None and sys.stdout.isatty()
    if style == AUTO:
        style = "text" if terminal else "json"
    if style == "text" and terminal:
        return Screen()
    if style == "json":
        return Objects(print_out)
    return Lines(print_out) if style == "text" else Subtitles(style, print_out)
