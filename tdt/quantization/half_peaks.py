"""The largest values of an encoder on recordings: what float16, which ends at 65504, would have to hold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tdt.quantization.half_choice import HalfChoice
from tdt.quantization.half_weights import LARGEST, HalfWeights
from tdt.quantization.source import EncoderProbe
from tdt.runtime import Backend
from tdt.spec import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tdt.quantization.clips import AudioSet
    from tdt.quantization.pipeline import Options
    from tdt.quantization.source import SourceModel

# Other recordings may be louder inside than those that were tried.
HEADROOM = 4.0


def largest_values(source: SourceModel, audio: AudioSet, options: Options) -> dict[str, float]:
    """Run the float32 encoder over recordings and return the largest magnitude of each value that is to be float16.

    Parameters
    ----------
    source : SourceModel
    audio : AudioSet
        Any amount.
    options : Options
        Provider, threads, progress.
    """
    probed, outputs = _with_peaks(source)
    peaks = dict.fromkeys(outputs.values(), 0.0)
    probe = EncoderProbe(probed, list(outputs), Backend.parse(options.provider), options.threads)
    done = 0.0
    try:
        for clip in audio.clips:
            for piece in clip.pieces():
                for output, value in probe.activations(piece).items():
                    name = outputs[output]
                    # A number that is none is the largest of all: np.fmax would pass over it.
                    peaks[name] = float(np.maximum(peaks[name], value))
                done += len(piece) / SAMPLE_RATE_HZ
                options.progress("measuring", done, audio.seconds)
    finally:
        probe.close()
    return peaks


def too_large(peaks: Mapping[str, float]) -> list[str]:
    """Return the values that come within a factor :data:`HEADROOM` of float16's end, or that are no numbers."""
    return [name for name, peak in peaks.items() if not peak * HEADROOM <= LARGEST]


def _with_peaks(source: SourceModel) -> tuple[SourceModel, dict[str, str]]:
    """Return the model with an output for each value's largest magnitude, and the value by that output."""
    graph = source.graph()
    choice = HalfChoice(graph, HalfWeights(graph))
    names = [
        name
        for node in graph.graph.node
        if choice.is_half(node)
        for name in node.output
        if name in choice.floats
    ]  # fmt: skip
    outputs = {}
    for name in names:
        magnitude = graph.add("Abs", [name], f"{name}/magnitude")
        outputs[graph.add("ReduceMax", [magnitude], f"{name}/peak", keepdims=0)] = name
    return replace(source, encoder=graph.model), outputs
