"""Recordings longer than a window: where to cut, what is carried over, how runs are continued.

Knows windows, pauses and batches of several recordings. Its parts (extractor, encoder, engine) are handed to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.doors import door

if TYPE_CHECKING:
    from tdt.longform.batching import WINDOW_SECONDS as WINDOW_SECONDS
    from tdt.longform.batching import BatchRule as BatchRule
    from tdt.longform.batching import like_length as like_length
    from tdt.longform.batching import plan_batches as plan_batches
    from tdt.longform.batching import window_size as window_size
    from tdt.longform.checkpoint import Journal as Journal
    from tdt.longform.checkpoint import source_identity as source_identity
    from tdt.longform.checkpoint import take_up as take_up
    from tdt.longform.limits import DEFAULT_CHUNK_SECONDS as DEFAULT_CHUNK_SECONDS
    from tdt.longform.limits import DEFAULT_CUT as DEFAULT_CUT
    from tdt.longform.limits import CutOptions as CutOptions
    from tdt.longform.limits import batch_rule as batch_rule
    from tdt.longform.limits import card_bytes as card_bytes
    from tdt.longform.limits import make_plan as make_plan
    from tdt.longform.limits import provider_seconds as provider_seconds
    from tdt.longform.recording import LongForm as LongForm
    from tdt.longform.underway import Pace as Pace
    from tdt.longform.underway import Part as Part
    from tdt.longform.underway import Recording as Recording
    from tdt.longform.vad import Silero as Silero

__getattr__, __all__ = door(
    __name__,
    {
        "batching": "WINDOW_SECONDS BatchRule like_length plan_batches window_size",
        "checkpoint": "Journal source_identity take_up",
        "limits": "CutOptions DEFAULT_CHUNK_SECONDS DEFAULT_CUT batch_rule card_bytes make_plan provider_seconds",
        "recording": "LongForm",
        "underway": "Pace Part Recording",
        "vad": "Silero",
    },
)
