"""Encoder frames to hypotheses: the compiled engine, the ONNX engine and the engine on the card.

Knows the prediction network, the joint network and the rule. Counts encoder frames; knows no seconds and no text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.doors import door

if TYPE_CHECKING:
    from tdt.decoding.device_engine import make_device_engine as make_device_engine
    from tdt.decoding.greedy import OnnxEngine as OnnxEngine
    from tdt.decoding.native import NativeEngine as NativeEngine

__getattr__, __all__ = door(
    __name__,
    {
        "device_engine": "make_device_engine",
        "greedy": "OnnxEngine",
        "native": "NativeEngine",
    },
)
