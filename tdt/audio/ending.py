"""Whether a source broke off: decided from what it claims and what was there, by no means of its own."""

from __future__ import annotations

from tdt.errors import AudioReadError

# Containers that count frames exactly may still round to their own clock, or leave out the last frame's padding.
SLACK_SECONDS = 0.2
# Who sees the sound of a small file go on for longer than this is looking at a bomb: 18 hours at 16 kHz.
MOST_SAMPLES = 1 << 30
# The least bytes a second of it; the tightest codec for speech in use takes 88.
LEAST_BYTES_A_SECOND = 60


class BreakOffError(AudioReadError):
    """The sound ends before its source does, or before its source says so; `problem` says how that shows."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(problem)


def problem_of(walked: str, decoder: str, frames: int, claimed: int | None) -> str:
    """Return how it shows that a source broke off, or "".

    Parameters
    ----------
    walked : str
        What the outline of the file lacks.
    decoder : str
        What the decoder said at its end.
    frames : int
        Samples a channel that came.
    claimed : int or None
        How many the header promises, where that can be trusted to the last one.

    Examples
    --------
    >>> problem_of("", "", 16000, 16000)
    ''
    >>> problem_of("", "lost sync", 16000, 48000)
    '16000 of 48000 samples are there'
    >>> problem_of("", "lost sync", 16000, 16000)  # junk behind the sound
    ''
    """
    if walked:
        return walked
    if claimed is not None:
        return "" if frames >= claimed else f"{frames} of {claimed} samples are there"
    return decoder


def claimed_frames(seconds: float | None, rate_hz: int) -> int | None:
    """Return how many samples must come of a container that claims so many seconds."""
    return None if seconds is None else int(max(0.0, seconds - SLACK_SECONDS) * rate_hz)


def unpacks_without_end(seconds: float, size_bytes: int) -> bool:
    """Say whether so much sound cannot have been recorded into so few bytes."""
    return seconds * 16_000 > MOST_SAMPLES and size_bytes < seconds * LEAST_BYTES_A_SECOND
