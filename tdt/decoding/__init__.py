"""Encoder frames to hypotheses: the compiled engine, the engine on the card, and the ONNX engines.

Knows the prediction network, the joint network and the rule. Counts encoder frames; knows no seconds and no text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.doors import door

if TYPE_CHECKING:
    from tdt.decoding.card_engine import CardEngine as CardEngine
    from tdt.decoding.card_engine import CardWeightsKind as CardWeightsKind
    from tdt.decoding.device_engine import make_device_engine as make_device_engine
    from tdt.decoding.greedy import OnnxEngine as OnnxEngine
    from tdt.decoding.guided import GuidedEngine as GuidedEngine
    from tdt.decoding.native import NativeEngine as NativeEngine
    from tdt.decoding.native import NativeWeightsKind as NativeWeightsKind

__getattr__, __all__ = door(
    __name__,
    {
        "card_engine": "CardEngine CardWeightsKind",
        "device_engine": "make_device_engine",
        "greedy": "OnnxEngine",
        "guided": "GuidedEngine",
        "native": "NativeEngine NativeWeightsKind",
    },
)
