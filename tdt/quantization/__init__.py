"""Offline quantisation: calibration, int8 in Q/DQ form, sensitivity, comparison, engines built ahead.

Knows the whole pipeline as a measuring device. Knows nothing of the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.doors import door

if TYPE_CHECKING:
    from tdt.quantization.budget import choose as choose
    from tdt.quantization.clips import find_audio as find_audio
    from tdt.quantization.clips import read_audio as read_audio
    from tdt.quantization.comparison import Variant as Variant
    from tdt.quantization.comparison import compare as compare
    from tdt.quantization.comparison_report import markdown as markdown
    from tdt.quantization.comparison_report import report as report
    from tdt.quantization.comparison_report import text as text
    from tdt.quantization.engines.folder import BuiltEngine as BuiltEngine
    from tdt.quantization.engines.folder import build_engine as build_engine
    from tdt.quantization.engines.layers import LayerCount as LayerCount
    from tdt.quantization.engines.on_card import build_on_card as build_on_card
    from tdt.quantization.engines.targets import Shapes as Shapes
    from tdt.quantization.engines.targets import parse_targets as parse_targets
    from tdt.quantization.half_model import HalfModel as HalfModel
    from tdt.quantization.half_model import to_half as to_half
    from tdt.quantization.output import check_output as check_output
    from tdt.quantization.parts import Linear as Linear
    from tdt.quantization.pictures import draw_lengths as draw_lengths
    from tdt.quantization.pictures import draw_sensitivity as draw_sensitivity
    from tdt.quantization.pipeline import Calibrated as Calibrated
    from tdt.quantization.pipeline import Options as Options
    from tdt.quantization.pipeline import Quantised as Quantised
    from tdt.quantization.pipeline import calibrate_source as calibrate_source
    from tdt.quantization.pipeline import load_clips as load_clips
    from tdt.quantization.pipeline import write_model as write_model
    from tdt.quantization.recipe import BODIES as BODIES
    from tdt.quantization.recipe import DECODER_WEIGHTS as DECODER_WEIGHTS
    from tdt.quantization.recipe import Recipe as Recipe
    from tdt.quantization.scoring import NORMALIZERS as NORMALIZERS
    from tdt.quantization.scoring import check_scoring as check_scoring
    from tdt.quantization.scoring import normalizer as normalizer
    from tdt.quantization.scoring import read_references as read_references
    from tdt.quantization.sensitivity import LEVELS as LEVELS
    from tdt.quantization.sensitivity import Bench as Bench
    from tdt.quantization.sensitivity import Level as Level
    from tdt.quantization.sensitivity import Ranked as Ranked
    from tdt.quantization.sensitivity import rank as rank
    from tdt.quantization.source import SourceModel as SourceModel
    from tdt.quantization.source import open_source as open_source
    from tdt.quantization.thresholds import METHODS as METHODS

__getattr__, __all__ = door(
    __name__,
    {
        "budget": "choose",
        "clips": "find_audio read_audio",
        "comparison": "Variant compare",
        "comparison_report": "markdown report text",
        "engines.folder": "BuiltEngine build_engine",
        "engines.layers": "LayerCount",
        "engines.on_card": "build_on_card",
        "engines.targets": "Shapes parse_targets",
        "half_model": "HalfModel to_half",
        "output": "check_output",
        "parts": "Linear",
        "pictures": "draw_lengths draw_sensitivity",
        "pipeline": "Calibrated Options Quantised calibrate_source load_clips write_model",
        "recipe": "BODIES DECODER_WEIGHTS Recipe",
        "scoring": "NORMALIZERS check_scoring normalizer read_references",
        "sensitivity": "Bench LEVELS Level Ranked rank",
        "source": "SourceModel open_source",
        "thresholds": "METHODS",
    },
)
