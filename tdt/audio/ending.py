"""Whether a source broke off: decided from what it claims and what was there, by no means of its own."""

from __future__ import annotations

from dataclasses import dataclass

from tdt.errors import AudioReadError

# Containers round to their own clock, and the last packet may be padding; where samples are counted, nothing is.
SLACK_SECONDS = 0.5
EXACT_SLACK_SECONDS = 0.01
# Who sees the sound of a small file go on for longer than this is looking at a bomb: 18 hours at 16 kHz.
MOST_SAMPLES = 1 << 30
# The least bytes a second of it; the tightest codec for speech in use takes 88.
LEAST_BYTES_A_SECOND = 60


class BreakOffError(AudioReadError):
    """The sound ends before its source does, or before its source says so; `problem` says how that shows."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(problem)


@dataclass(frozen=True, slots=True)
class Claims:
    """What a header promises of the sound, where that can be trusted.

    Parameters
    ----------
    exact_seconds : float, optional
        As much must be decoded.
    timed_seconds : float, optional
        So far the times of the packets must come; sound may be left out between them.
    samples : int, optional
        As many must be decoded, to the last.
    """

    exact_seconds: float | None = None
    timed_seconds: float | None = None
    samples: int | None = None

    def problem(self, samples: int, rate_hz: int, seconds: float, decoder: str) -> str:
        """Return how it shows that a source broke off, or "".

        Parameters
        ----------
        samples : int
            Samples a channel that came, at `rate_hz`.
        rate_hz : int
        seconds : float
            Up to where the times of the packets came.
        decoder : str
            What the decoder said at its end.

        Examples
        --------
        >>> Claims(samples=48000).problem(16000, 16000, 0.0, "lost sync")
        '16000 of 48000 samples are there'
        >>> Claims(samples=48000).problem(48000, 16000, 0.0, "lost sync")  # junk behind the sound
        ''
        >>> Claims(timed_seconds=60.0).problem(960_000, 16000, 58.0, "")
        '58.0 of 60.0 s are there'
        """
        if self.samples is not None:
            return "" if samples >= self.samples else f"{samples} of {self.samples} samples are there"
        came = samples / rate_hz if rate_hz else 0.0
        for claimed, there, slack in (
            (self.exact_seconds, came, EXACT_SLACK_SECONDS),
            (self.timed_seconds, seconds, SLACK_SECONDS),
        ):
            if claimed is not None and there < claimed - slack:
                return f"{there:.1f} of {claimed:.1f} s are there"
        return decoder if self.exact_seconds is None else ""


def unpacks_without_end(seconds: float, size_bytes: int) -> bool:
    """Say whether so much sound cannot have been recorded into so few bytes."""
    return seconds * 16_000 > MOST_SAMPLES and size_bytes < seconds * LEAST_BYTES_A_SECOND
