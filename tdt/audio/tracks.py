"""What a sound file holds: its container, and its audio tracks to choose from."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tdt.audio.decoders import open_sound
from tdt.audio.sources import open_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from tdt.audio.sound import Track


@dataclass(frozen=True, slots=True)
class Contents:
    """A sound file without its sound.

    Parameters
    ----------
    file : str
    container : str
        Its format.
    files : int
        How many files were joined to make it; 1 for ordinary ones.
    seconds : float or None
        Length that it claims.
    problem : str
        What is missing at its end, as far as that shows without decoding; "" where nothing is.
    tracks : tuple of Track
    """

    file: str
    container: str
    files: int
    seconds: float | None
    problem: str
    tracks: tuple[Track, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)

    def render(self) -> str:
        """Return it as a few lines of text."""
        count = len(self.tracks)
        length = "" if self.seconds is None else f", {self.seconds:.3f} s"
        joined = f", {self.files} files joined" if self.files > 1 else ""
        lines = [f"{self.file}: {self.container}, {count} audio track{'s' if count > 1 else ''}{length}{joined}"]
        lines += [_line(track) for track in self.tracks]
        lines += [f"  it breaks off: {self.problem}"] if self.problem else []
        return "\n".join(lines) + "\n"


def _line(track: Track) -> str:
    parts = [f"{track.codec}", f"{track.rate_hz} Hz", f"{track.channels} channel{'s' if track.channels != 1 else ''}"]
    parts += [] if track.seconds is None else [f"{track.seconds:.3f} s"]
    parts += [track.language] if track.language else []
    parts += [f'"{track.title}"'] if track.title else []
    parts = [
        "".join(letter for letter in part if letter.isprintable()) for part in parts
    ]  # titles are strangers' words
    parts += ["default"] if track.default else []
    return f"  track {track.number}: " + ", ".join(parts)


def contents(path: Path) -> Contents:
    """Open a sound file and return what it holds.

    Parameters
    ----------
    path : Path

    Raises
    ------
    AudioError
        In its kinds: it cannot be opened, or is not audio.
    """
    with closing(open_bytes(path, str(path))) as source, open_sound(source) as sound:
        return Contents(str(path), sound.container, sound.files, sound.seconds, sound.problem, sound.tracks)
