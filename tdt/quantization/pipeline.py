"""Quantise a model: surgery, calibration, smoothing, 8-bit weights, Q/DQ, a loadable folder with its sidecar."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.errors import OptionError
from tdt.quantization import sidecar
from tdt.quantization.calibration import Checkpoint, Progress, calibrate, checkpoint_key, silent
from tdt.quantization.clips import MIN_SPEECH_SECONDS, AudioSet, read_audio, require_speech
from tdt.quantization.output import ENCODER_NAMES, check_output, finish, save_encoder
from tdt.quantization.parts import Linear, select
from tdt.quantization.recipe import Recipe
from tdt.quantization.saturation import saturating_columns
from tdt.quantization.smoothing import Smoothing, smooth
from tdt.quantization.source import EncoderProbe, SourceModel, open_source
from tdt.quantization.thresholds import grid
from tdt.quantization.weights import quantise_weight
from tdt.quantization.writer import QuantisedLinear, write_qdq
from tdt.runtime import Backend

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tdt.quantization.statistics import TensorStatistics
    from tdt.surgery import EditableGraph

    Divisors = dict[str, Any]


# Outlier channels: smoothing takes a layer's error down to a tenth. Ordinary layers gain less than half.
OUTLIER_GAIN = 0.4


@dataclass(frozen=True, slots=True)
class Options:
    """How the work is done; unlike the recipe, nothing of this changes the result."""

    max_seconds: float = 600.0
    provider: str = "cpu"
    threads: int | None = None
    overwrite: bool = False
    progress: Progress = silent


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A source model with statistics, smoothed where the recipe says so: ready to be written in any selection.

    Parameters
    ----------
    source : SourceModel
        The float model.
    graph : EditableGraph
        Its encoder with smoothing folded in; a working copy.
    linears : tuple of Linear
        Layers the recipe selects.
    statistics : mapping of str to TensorStatistics
        By activation tensor.
    smoothing : tuple of Smoothing
        Strength by layer norm.
    audio : AudioSet
        What it was calibrated on.
    """

    source: SourceModel
    graph: EditableGraph
    linears: tuple[Linear, ...]
    statistics: Mapping[str, TensorStatistics]
    smoothing: tuple[Smoothing, ...]
    audio: AudioSet


@dataclass(frozen=True, slots=True)
class Quantised:
    """A finished model folder.

    Parameters
    ----------
    folder : Path
        Where it lies.
    encoder_bytes, source_bytes : int
        Size of the encoder now and before, external weights included.
    layers : int
        Quantised matrix products.
    narrow_columns : int
        Columns kept to 7 bits.
    sidecar : dict
        Content of `quantization.json`.
    """

    folder: Path
    encoder_bytes: int
    source_bytes: int
    layers: int
    narrow_columns: int
    sidecar: dict[str, Any] = field(repr=False)


def quantize(
    model: str | Path | None,
    audio: Sequence[str | Path],
    output: str | Path,
    recipe: Recipe | None = None,
    options: Options | None = None,
) -> Quantised:
    """Quantise the encoder of `model` on recordings and write a loadable model folder.

    Parameters
    ----------
    model : str, Path or None
        A float model's folder or name; None for the bundled model. An encoder in float16 is taken as float32.
    audio : sequence of str or Path
        Recordings or folders, 60 s of sound at least.
    output : str or Path
        Folder to be made.
    recipe : Recipe, optional
        What to quantise and how.
    options : Options, optional
        Provider, threads, progress.

    Returns
    -------
    Quantised

    Raises
    ------
    CalibrationAudioError
        Where the recordings hold too little sound.
    QuantizationError, ModelError, OptionError
        Where the model, the audio or an option cannot be used.
    KeyboardInterrupt
        Calibration state is kept in the output folder; the same call goes on from there.
    """
    recipe, options, folder = recipe or Recipe(), options or Options(), Path(output)
    with open_source(model) as source:
        check_output(folder, source, overwrite=options.overwrite)
        clips = load_clips(audio, options)
        calibrated = calibrate_source(source, clips, recipe, options, folder / ".calibration")
        return write_model(calibrated, calibrated.linears, folder, recipe)


def load_clips(audio: Sequence[str | Path], options: Options) -> AudioSet:
    """Read the calibration recordings and refuse too little.

    Raises
    ------
    OptionError
        Where the bound leaves less than is needed, whatever the recordings hold.
    CalibrationAudioError
        Where they hold too little sound.
    """
    if not options.max_seconds >= MIN_SPEECH_SECONDS:
        raise OptionError("max_seconds", options.max_seconds, f"{MIN_SPEECH_SECONDS:g} or more")
    options.progress("reading audio", 0, 1)
    clips = read_audio([Path(path) for path in audio], options.max_seconds)
    require_speech(clips, options.max_seconds)
    options.progress("reading audio", 1, 1)
    return clips


def calibrate_source(source: SourceModel, audio: AudioSet, recipe: Recipe, options: Options, state: Path) -> Calibrated:
    """Collect statistics and fold smoothing."""
    linears = tuple(select(source.linears, recipe.include, recipe.exclude))
    tensors = list(dict.fromkeys(linear.source for linear in linears))
    backend = Backend.parse(options.provider)
    facts = (sidecar.source_files(source), tensors, sidecar.calibration_block(audio), str(backend))
    probe = EncoderProbe(source, tensors, backend, options.threads)
    graph = source.graph()
    smoothing: list[Smoothing] = []
    checkpoints = [Checkpoint(state, checkpoint_key(*facts, recipe.smoothquant if turn else "")) for turn in (0, 1)]
    try:
        statistics = calibrate(probe, audio.clips, checkpoint=checkpoints[0], progress=options.progress)
        checkpoints[0].save(statistics, sum(1 for clip in audio.clips for _ in clip.pieces()))
        smoothing = _smooth(graph, linears, statistics, recipe)
        divisors = {item.tensor: item.scale for item in smoothing if item.scale is not None}
        if divisors:
            statistics = _divided(probe, statistics, divisors, audio, options)
    finally:
        probe.close()
    checkpoints[0].clear()
    return Calibrated(source, graph, linears, statistics, tuple(smoothing), audio)


def _smooth(
    graph: EditableGraph, linears: Sequence[Linear], statistics: Mapping[str, TensorStatistics], recipe: Recipe
) -> list[Smoothing]:
    if recipe.smoothquant == "off":
        return []
    if recipe.alpha is not None:
        return smooth(graph, linears, statistics, (recipe.alpha,), keep_below=float("inf"), keep_inserted=0.0)
    if recipe.smoothquant == "auto":
        return smooth(graph, linears, statistics, keep_below=OUTLIER_GAIN, keep_inserted=OUTLIER_GAIN)
    return smooth(graph, linears, statistics)


def _divided(
    probe: EncoderProbe,
    statistics: Mapping[str, TensorStatistics],
    divisors: Divisors,
    audio: AudioSet,
    options: Options,
) -> dict[str, TensorStatistics]:
    """Collect the statistics of smoothed tensors: those of the same activations, divided by the channel scales."""
    again = calibrate(
        _Only(probe, list(divisors)),
        audio.clips,
        divisors=divisors,
        progress=options.progress,
        task="calibrating smoothed",
    )
    return {**statistics, **again}


class _Only:
    """A probe that gives some of another's tensors."""

    def __init__(self, probe: EncoderProbe, tensors: Sequence[str]) -> None:
        self._probe = probe
        self._tensors = list(tensors)

    def activations(self, samples: Any) -> dict[str, Any]:
        values = self._probe.activations(samples)
        return {name: values[name] for name in self._tensors}


def quantise_layers(
    calibrated: Calibrated, linears: Sequence[Linear], recipe: Recipe
) -> tuple[list[QuantisedLinear], dict[str, int]]:
    """Quantise the weights of `linears`; returns the layers and, by layer, the number of columns kept to 7 bits."""
    layers, narrowed = [], {}
    for linear in linears:
        seen = calibrated.statistics[linear.source]
        found = grid(seen, recipe.method, recipe.percentile, centre=recipe.centre)
        matrix = np.asarray(calibrated.graph.weight(linear.weight), np.float32)
        weight = quantise_weight(matrix)
        if recipe.narrow:
            columns = saturating_columns(weight.values, found.levels(seen.sample))
            if columns.any():
                weight = quantise_weight(matrix, columns)
                narrowed[linear.node] = int(columns.sum())
        layers.append(QuantisedLinear(linear, weight, found))
    return layers, narrowed


def write_model(
    calibrated: Calibrated,
    linears: Sequence[Linear],
    folder: Path,
    recipe: Recipe,
    notes: Mapping[str, Any] | None = None,
) -> Quantised:
    """Write the folder with `linears` in 8 bits and all else as the recipe says."""
    source = calibrated.source
    layers, narrowed = quantise_layers(calibrated, linears, recipe)
    graph = calibrated.graph
    write_qdq(graph, layers)
    if recipe.body == "float16":
        from tdt.quantization.half import half_body

        half_body(graph)
    content = sidecar.describe(
        source, recipe, calibrated.audio, calibrated.statistics, layers, calibrated.smoothing, narrowed
    )
    content.update(notes or {})
    work = folder / ".partial"
    work.mkdir(parents=True, exist_ok=True)
    encoder = save_encoder(graph, work, ENCODER_NAMES[source.found.files.layout])
    sizes = finish(source, work, folder, encoder.name, content, recipe.decoder_weights)
    return Quantised(folder, *sizes, len(layers), sum(narrowed.values()), content)
