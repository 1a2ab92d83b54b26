"""What an engine is built for: graphics cards and shapes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tdt.errors import OptionError
from tdt.spec import HOP_SAMPLES, SAMPLE_RATE_HZ

# What the builder of TensorRT-RTX 1.7 names; data-centre cards (sm_80, sm_90, sm_100) are TensorRT's, not RTX's.
KNOWN = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_120", "sm_121")
DEFAULT = ("sm_89", "sm_120")
MIN_MEL_FRAMES = 16


def parse_targets(text: str) -> tuple[str, ...]:
    """Read ``sm_89,sm_120`` (also ``89`` or ``8.9``).

    Raises
    ------
    OptionError
        For a card that the builder does not know; the message lists those it does.
    """
    found = []
    for word in text.split(","):
        digits = re.sub(r"^sm_?|\.", "", word.strip().lower())
        name = f"sm_{digits}"
        if name not in KNOWN:
            raise OptionError("target", word.strip(), f"one or more of {', '.join(KNOWN)}")
        found.append(name)
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class Shapes:
    """Batch sizes and lengths that an engine takes; it is tuned for the middle one.

    Parameters
    ----------
    max_batch : int
        Largest batch.
    opt_seconds, max_seconds : float
        Usual and longest clip.
    """

    max_batch: int = 8
    opt_seconds: float = 10.0
    max_seconds: float = 40.0

    def __post_init__(self) -> None:
        if self.max_batch < 1:
            raise OptionError("max_batch", self.max_batch, "1 or more")
        if not 0.2 <= self.opt_seconds <= self.max_seconds:
            raise OptionError("opt_seconds", self.opt_seconds, f"0.2 s or more, and at most {self.max_seconds:g} s")

    def profile(self, n_mels: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Return the shapes of features and lengths: least, usual, most."""
        rate = SAMPLE_RATE_HZ // HOP_SAMPLES
        frames = (MIN_MEL_FRAMES, int(self.opt_seconds * rate) + 1, int(self.max_seconds * rate) + 1)
        return [
            ((batch, n_mels, length), (batch,)) for batch, length in zip((1, 1, self.max_batch), frames, strict=True)
        ]
