"""How late words come of a recording that arrives in a pipe as it is spoken."""

from __future__ import annotations

import io
import os
import threading
import time

import numpy as np
import soundfile
from _long_audio import RATE, joined, read_clips, say

import tdt

_STEP_SECONDS = 0.1


def paced(seconds: float) -> None:
    """Play recordings into a pipe in real time; tell how long after its last word a segment came."""
    say("| between the clips | segments | first words, s after the start | s after they were spoken: first | median |"
        " 95 % | worst |")  # fmt: skip
    say("|---|---|---|---|---|---|---|")
    with tdt.load() as asr:
        asr.warmup()
        _heard(asr, np.concatenate([block for block, _ in joined(read_clips(), 70, "pause")]), 1e-3)
        for kind in ("silence", "pause", "none"):
            samples = np.concatenate([block for block, _ in joined(read_clips(), seconds, kind)])
            found = _heard(asr, samples, _STEP_SECONDS)
            late = np.array([came - end for came, end in found])
            spread = " | ".join(f"{np.percentile(late, share):.1f}" for share in (50, 95, 100))
            say(f"| {kind} | {len(found)} | {found[0][0]:.1f} | {late[0]:.1f} | {spread} |")


def _heard(asr: tdt.Recognizer, samples: np.ndarray, step_seconds: float) -> list[tuple[float, float]]:
    """Return when each segment came and when it was spoken, in seconds from the start; a step of 0.1 s is real time."""
    read, write = os.pipe()
    begun = time.monotonic()
    player = threading.Thread(target=_play, args=(samples, write, begun, step_seconds))
    player.start()
    with os.fdopen(read, "rb") as pipe:
        found = [(time.monotonic() - begun, segment.end) for segment in asr.stream(pipe)]
    player.join()
    return found


def _play(samples: np.ndarray, write: int, begun: float, step_seconds: float) -> None:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="WAV", subtype="PCM_16")
    content = bytearray(file.getvalue())
    at = content.index(b"data") + 8
    content[at - 4 : at] = content[4:8] = b"\xff\xff\xff\xff"  # as who writes to a pipe cannot know the length
    size = 2 * round(_STEP_SECONDS * RATE)
    with os.fdopen(write, "wb", buffering=0) as pipe:
        pipe.write(content[:at])
        for number, first in enumerate(range(at, len(content), size), start=1):
            time.sleep(max(0.0, begun + number * step_seconds - time.monotonic()))
            pipe.write(content[first : first + size])
