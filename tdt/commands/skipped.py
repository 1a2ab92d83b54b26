"""What `tdt transcribe` says of speech that stayed without words."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.commands.messages import Messages
    from tdt.text import Gap

_MOST_TOLD = 5


class Skipped:
    """The gaps of each input, told in a line.

    Parameters
    ----------
    messages : Messages
    strict : bool
        Whether they are errors, which the quiet are told, too.

    Attributes
    ----------
    found : bool
        Whether any has been told.
    """

    def __init__(self, messages: Messages, *, strict: bool) -> None:
        self._messages, self._strict = messages, strict
        self._held: defaultdict[str, list[Gap]] = defaultdict(list)
        self.found = False

    def add(self, file: str, gaps: Sequence[Gap]) -> None:
        """Keep gaps of an input until it is done."""
        self._held[file] += gaps

    def tell(self, file: str) -> None:
        """Say where an input that is done has gaps; nothing where it has none."""
        gaps = self._held.pop(file, [])
        if not gaps:
            return
        self.found = True
        say = self._messages.error if self._strict else self._messages.warn
        say(f"{file}: {described(gaps)}")


def described(gaps: Sequence[Gap]) -> str:
    """Return where there are gaps, the first few by their times.

    Examples
    --------
    >>> from tdt import Gap
    >>> described([Gap(12.32, 14.0)])
    'speech without words: 12.3 to 14.0 s'
    """
    told = ", ".join(f"{gap.start:.1f} to {gap.end:.1f} s" for gap in gaps[:_MOST_TOLD])
    more = f" and {len(gaps) - _MOST_TOLD} more" if len(gaps) > _MOST_TOLD else ""
    return f"speech without words: {told}{more}"
