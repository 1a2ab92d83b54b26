"""A corpus is labelled: lists of recordings in, shards of texts out, the same bytes however many work on it.

Knows lists, shards, journals, workers and error rates. Knows nothing of how speech is recognised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.doors import door

if TYPE_CHECKING:
    from tdt.corpus.items import DETAILS as DETAILS
    from tdt.corpus.planning import Speed as Speed
    from tdt.corpus.planning import forecast as forecast
    from tdt.corpus.planning import speed_of as speed_of
    from tdt.corpus.readers import packs_of as packs_of
    from tdt.corpus.running import Hardware as Hardware
    from tdt.corpus.running import Plan as Plan
    from tdt.corpus.running import label as label
    from tdt.corpus.scoring import read_lines as read_lines
    from tdt.corpus.scoring import score as score
    from tdt.corpus.shards import MOST_SHARD_ITEMS as MOST_SHARD_ITEMS
    from tdt.corpus.shards import SHARD_ITEMS as SHARD_ITEMS
    from tdt.corpus.shards import ShardRule as ShardRule
    from tdt.corpus.summary import Progress as Progress
    from tdt.corpus.transcriber import Transcriber as Transcriber
    from tdt.corpus.work import Settings as Settings
    from tdt.corpus.writing import shards_done as shards_done

__getattr__, __all__ = door(
    __name__,
    {
        "items": "DETAILS",
        "planning": "Speed forecast speed_of",
        "readers": "packs_of",
        "running": "Hardware Plan label",
        "scoring": "read_lines score",
        "shards": "MOST_SHARD_ITEMS SHARD_ITEMS ShardRule",
        "summary": "Progress",
        "transcriber": "Transcriber",
        "work": "Settings",
        "writing": "shards_done",
    },
)
