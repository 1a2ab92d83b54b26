"""Write a model with its encoder in float16: nothing to calibrate, one weight in memory at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdt.model import SIDECAR_FORMAT
from tdt.quantization import sidecar
from tdt.quantization.clips import read_audio
from tdt.quantization.half import HalfReport, half_body
from tdt.quantization.half_peaks import HEADROOM, largest_values, too_large
from tdt.quantization.output import HALF_NAMES, check_output, finish
from tdt.quantization.pipeline import Options
from tdt.quantization.placing import PLACED_BYTES, SINGLE_FILE_BYTES, WeightFile
from tdt.quantization.source import open_source
from tdt.surgery import EditableGraph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.quantization.recipe import DecoderWeights
    from tdt.quantization.source import SourceModel


@dataclass(frozen=True, slots=True)
class HalfModel:
    """A finished model folder with a float16 encoder.

    Parameters
    ----------
    folder : Path
        Where it lies.
    encoder_bytes, source_bytes : int
        Size of the encoder now and before, external weights included.
    report : HalfReport
        What became float16.
    sidecar : dict
        Content of `quantization.json`.
    """

    folder: Path
    encoder_bytes: int
    source_bytes: int
    report: HalfReport = field(repr=False)
    sidecar: dict[str, Any] = field(repr=False)


def to_half(
    model: str | Path | None,
    output: str | Path,
    *,
    audio: Sequence[str | Path] = (),
    decoder_weights: DecoderWeights = "float",
    options: Options | None = None,
) -> HalfModel:
    """Write the encoder of `model` in float16 into a loadable model folder.

    Parameters
    ----------
    model : str, Path or None
        A float model's folder or name; None for the bundled model. An encoder in float16 is written anew, with the
        same weights and with the types chosen here.
    output : str or Path
        Folder to be made.
    audio : sequence of str or Path, optional
        Recordings on which the encoder's largest values are measured: what comes near float16's end stays float32.
    decoder_weights : {"float", "int8"}
        The decoder's files as they are, or with 8-bit weights. They are small, the CPU's engine computes in
        float32 or int8, and the kernel for cards makes its own float16 weights of float32 ones.
    options : Options, optional
        Overwriting, progress; provider, threads and most seconds of the measurement.

    Returns
    -------
    HalfModel

    Raises
    ------
    QuantizationError, ModelError, OptionError
        Where the model, the audio or an option cannot be used.
    """
    options, folder = options or Options(), Path(output)
    with open_source(model) as source:
        return _halve(source, folder, audio, decoder_weights, options)


def _halve(
    source: SourceModel, folder: Path, audio: Sequence[str | Path], decoder_weights: DecoderWeights, options: Options
) -> HalfModel:
    check_output(folder, source, overwrite=options.overwrite)
    before = sidecar.source_files(source)
    measured = _measure(source, audio, options)
    work = folder / ".partial"
    work.mkdir(parents=True, exist_ok=True)
    options.progress("writing", 0, 1)
    encoder = work / HALF_NAMES[source.found.files.layout]
    report = _write_encoder(source, encoder, measured.get("kept_for", ()), sum(item["bytes"] for item in before))
    content = {**_describe(source, before, report), **({"measured": measured} if measured else {})}
    sizes = finish(source, work, folder, encoder.name, content, decoder_weights)
    options.progress("writing", 1, 1)
    return HalfModel(folder, *sizes, report, content)


def _measure(source: SourceModel, audio: Sequence[str | Path], options: Options) -> dict[str, Any]:
    if not audio:
        return {}
    clips = read_audio([Path(path) for path in audio], options.max_seconds)
    peaks = largest_values(source, clips, options)
    largest = max(peaks, key=lambda name: peaks[name])
    return {
        **sidecar.calibration_block(clips),
        "headroom": HEADROOM,
        "largest": {"value": largest, "magnitude": peaks[largest]},
        "kept_for": too_large(peaks),
    }


def _write_encoder(source: SourceModel, path: Path, kept_for: Sequence[str], source_bytes: int) -> HalfReport:
    """Write the graph to `path`, and large weights to a file beside it as they are converted."""
    graph = EditableGraph(source.encoder, source.folder)
    if source_bytes <= 2 * SINGLE_FILE_BYTES:
        report = half_body(graph, too_large=kept_for)
        _take_in(graph, None)
    else:
        with WeightFile(path.with_name(f"{path.name}.data")) as file:
            report = half_body(graph, too_large=kept_for, place=file.place)
            _take_in(graph, file)
    path.write_bytes(graph.model.SerializeToString())
    return report


def _take_in(graph: EditableGraph, file: WeightFile | None) -> None:
    """Bring what is still in the source's files into the graph, or where it is large to where the weights go."""
    from onnx import TensorProto

    for name, tensor in list(graph.initializers.items()):
        if file is not None and name in file.names:
            continue
        if file is not None and tensor.data_type == TensorProto.FLOAT and _bytes_of(graph, name) >= PLACED_BYTES:
            graph.add_tensor(file.place(name, graph.weight(name)))
        else:
            graph.make_inline(name)


def _bytes_of(graph: EditableGraph, name: str) -> int:
    return 4 * prod(graph.shape_of(name) or ())


def _describe(source: SourceModel, before: list[dict[str, Any]], report: HalfReport) -> dict[str, Any]:
    weights = report.weights
    return {
        "format": SIDECAR_FORMAT,
        "kind": "float16",
        "source": {"name": source.spec.name, "files": before},
        "surgery": source.surgery.changes,
        "nodes": {"float16": report.nodes, "casts": report.casts, "kept_in_float32": list(report.kept)},
        "weights": {
            "tensors": weights.tensors,
            "values": weights.values,
            "largest": weights.largest,
            "subnormal": weights.subnormal,
            "vanished": weights.vanished,
        },
        "tools": sidecar.tool_versions(),
    }
