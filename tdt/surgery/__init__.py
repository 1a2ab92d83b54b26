"""Graphs rewritten before a session opens them: the decoder cut into its networks, the encoder prepared for devices.

Knows operators and weights. Runs nothing but what it needs to learn a shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.doors import door

if TYPE_CHECKING:
    from tdt.surgery import device_step as device_step
    from tdt.surgery.causal_convolutions import runs_causal_convolutions as runs_causal_convolutions
    from tdt.surgery.cpu_rewrite import OFFSET as OFFSET
    from tdt.surgery.cpu_rewrite import OFFSET_BIAS as OFFSET_BIAS
    from tdt.surgery.cpu_rewrite import ZERO_POINT as ZERO_POINT
    from tdt.surgery.cpu_rewrite import for_cpu as for_cpu
    from tdt.surgery.cpu_rewrite import wants_unsigned as wants_unsigned
    from tdt.surgery.decoder_weights import DecoderWeights as DecoderWeights
    from tdt.surgery.decoder_weights import Steps as Steps
    from tdt.surgery.editing import EditableGraph as EditableGraph
    from tdt.surgery.encoder_graph import device_graph as device_graph
    from tdt.surgery.encoder_graph import projected_width as projected_width
    from tdt.surgery.encoder_graph import projection_tail as projection_tail
    from tdt.surgery.lifting import lift as lift
    from tdt.surgery.networks import cut_decoder as cut_decoder
    from tdt.surgery.opsets import in_one_opset as in_one_opset
    from tdt.surgery.position_split import FRAMES_INPUT as FRAMES_INPUT
    from tdt.surgery.positions import MAX_FRAMES_KEY as MAX_FRAMES_KEY
    from tdt.surgery.prepare import SurgeryReport as SurgeryReport
    from tdt.surgery.prepare import prepare_encoder as prepare_encoder
    from tdt.surgery.value_types import FLOAT as FLOAT
    from tdt.surgery.value_types import FLOAT16 as FLOAT16
    from tdt.surgery.value_types import values_of_type as values_of_type
    from tdt.surgery.widening import widen as widen

__getattr__, __all__ = door(
    __name__,
    {
        "": "device_step",
        "causal_convolutions": "runs_causal_convolutions",
        "cpu_rewrite": "OFFSET OFFSET_BIAS ZERO_POINT for_cpu wants_unsigned",
        "decoder_weights": "DecoderWeights Steps",
        "editing": "EditableGraph",
        "encoder_graph": "device_graph projected_width projection_tail",
        "lifting": "lift",
        "networks": "cut_decoder",
        "opsets": "in_one_opset",
        "position_split": "FRAMES_INPUT",
        "positions": "MAX_FRAMES_KEY",
        "prepare": "SurgeryReport prepare_encoder",
        "value_types": "FLOAT FLOAT16 values_of_type",
        "widening": "widen",
    },
)
