"""Samples to log-mel features to encoder frames, on the CPU or on a card.

Knows the feature extractor and the encoder's session. Knows nothing of tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.doors import door

if TYPE_CHECKING:
    from tdt.encoding.device_encoder import DeviceEncoder as DeviceEncoder
    from tdt.encoding.encoder import Encoder as Encoder
    from tdt.encoding.features import FeatureExtractor as FeatureExtractor
    from tdt.encoding.features import pad_short as pad_short
    from tdt.encoding.features import short_padding as short_padding

__getattr__, __all__ = door(
    __name__,
    {
        "device_encoder": "DeviceEncoder",
        "encoder": "Encoder",
        "features": "FeatureExtractor pad_short short_padding",
    },
)
