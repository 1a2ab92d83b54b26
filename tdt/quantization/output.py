"""Write the quantised model folder: loadable in its layout, complete or not at all."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from tdt.errors import OptionError
from tdt.quantization import sidecar
from tdt.quantization.placing import SINGLE_FILE_BYTES

if TYPE_CHECKING:
    from pathlib import Path

    from tdt.quantization.recipe import DecoderWeights
    from tdt.quantization.source import SourceModel
    from tdt.surgery import EditableGraph

ENCODER_NAMES = {"onnx-asr": "encoder-model.int8.onnx", "sherpa-onnx": "encoder.int8.onnx"}
HALF_NAMES = {"onnx-asr": "encoder-model.fp16.onnx", "sherpa-onnx": "encoder.fp16.onnx"}
_EXTRAS = ("config.json", "README.md", "LICENSE")


def check_output(folder: Path, source: SourceModel, *, overwrite: bool) -> None:
    """Refuse a folder that holds something else, or the source itself.

    Raises
    ------
    OptionError
        Saying what is there.
    """
    if folder.exists() and not folder.is_dir():
        raise OptionError("output", str(folder), "a folder, or a path where one can be made")
    if folder.is_dir() and folder.resolve() == source.found.files.folder.resolve():
        raise OptionError("output", str(folder), "another folder than the model's own")
    if folder.is_dir() and not overwrite:
        there = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
        if there:
            raise OptionError("output", str(folder), f"an empty folder (it holds {there[0]}), or --overwrite")


def save_encoder(graph: EditableGraph, folder: Path, name: str) -> Path:
    """Write the encoder, with its weights in a file beside it where they are large; returns its path."""
    import onnx

    for tensor in graph.initializers:
        graph.make_inline(tensor)
    total = sum(len(tensor.raw_data) for tensor in graph.model.graph.initializer)
    path, data = folder / name, folder / f"{name}.data"
    data.unlink(missing_ok=True)  # onnx appends to a file that is there
    onnx.save_model(
        graph.model,
        str(path),
        save_as_external_data=total > SINGLE_FILE_BYTES,
        location=data.name,
        size_threshold=1024,
        convert_attribute=False,
    )
    return path


def copy_rest(source: SourceModel, folder: Path, *, decoder: bool = True) -> None:
    """Copy vocabulary, configuration and, where `decoder`, the decoder files of the source."""
    files = source.found.files
    wanted: list[Path] = [files.vocabulary]
    if decoder:
        wanted += [path for path in (files.decoder_joint, files.decoder, files.joiner) if path is not None]
        graphs = [graph for role, graph in source.found.graphs.items() if role != "encoder"]
        wanted += sorted({ref.file for graph in graphs for ref in graph.external})
    wanted += [path for path in (files.folder / name for name in _EXTRAS) if path.is_file()]
    for path in wanted:
        shutil.copyfile(path, folder / path.name)


def finish(
    source: SourceModel, work: Path, folder: Path, encoder: str, content: dict[str, Any], decoder: DecoderWeights
) -> tuple[int, int]:
    """Put the rest of the model beside a finished encoder, complete `content`, write it, and publish all.

    Parameters
    ----------
    source : SourceModel
    work, folder : Path
        Where the encoder lies now, and where the model is to lie.
    encoder : str
        Its file name.
    content : dict
        Of the sidecar; the encoder's sizes are added, and what became of the decoder.
    decoder : {"float", "int8"}
        Whether its files are copied, or written with 8-bit weights.

    Returns
    -------
    size, source_size : int
        Bytes of the encoder now and before, external weights included.
    """
    copy_rest(source, work, decoder=decoder == "float")
    if decoder == "int8":
        from tdt.quantization.decoder import quantise_decoders

        content["decoder"] = quantise_decoders(source, work)
    size = sum(path.stat().st_size for path in work.glob(f"{encoder}*"))
    before = sum(item["bytes"] for item in content["source"]["files"])
    content["encoder"] = {"bytes": size, "source_bytes": before, "ratio": round(size / before, 4)}
    sidecar.write(work, content)
    publish(work, folder)
    return size, before


def publish(work: Path, folder: Path) -> None:
    """Move a finished folder's files into place, and remove model files of an earlier run."""
    fresh = {entry.name for entry in work.iterdir()}
    for entry in folder.iterdir():
        if entry.is_file() and entry.name not in fresh and entry.suffix in {".onnx", ".data", ".json", ".txt"}:
            entry.unlink()
    for entry in sorted(work.iterdir()):
        entry.replace(folder / entry.name)
    work.rmdir()
