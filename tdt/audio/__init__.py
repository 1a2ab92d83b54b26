"""Any source of sound (path, bytes, file object, array, pipe) becomes mono 16 kHz samples, whole or in blocks.

Knows containers, channels and rates. Knows nothing of models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.doors import door

if TYPE_CHECKING:
    from tdt.audio.blocks import BlockMixer as BlockMixer
    from tdt.audio.folders import AUDIO_SUFFIXES as AUDIO_SUFFIXES
    from tdt.audio.folders import audio_files as audio_files
    from tdt.audio.folders import expand as expand
    from tdt.audio.loading import load_audio as load_audio
    from tdt.audio.parts import Part as Part
    from tdt.audio.reader import BlockReader as BlockReader
    from tdt.audio.recordings import Opened as Opened
    from tdt.audio.recordings import open_source as open_source
    from tdt.audio.resampling import Resampler as Resampler
    from tdt.audio.sources import name_of as name_of
    from tdt.audio.tracks import contents as contents

__getattr__, __all__ = door(
    __name__,
    {
        "blocks": "BlockMixer",
        "folders": "AUDIO_SUFFIXES audio_files expand",
        "loading": "load_audio",
        "parts": "Part",
        "reader": "BlockReader",
        "recordings": "Opened open_source",
        "resampling": "Resampler",
        "sources": "name_of",
        "tracks": "contents",
    },
)
