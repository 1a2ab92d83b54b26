"""A model folder whose encoder is an engine: an EP-context graph that names it, with decoder and vocabulary."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdt.errors import OptionError
from tdt.model import SIDECAR, read_sidecar
from tdt.quantization.engines.builder import Engine, build
from tdt.quantization.engines.targets import DEFAULT, Shapes
from tdt.quantization.sidecar import file_hash
from tdt.runtime import COMPUTED_IN_KEY, REPORT_NAME, Backend, computed_in
from tdt.surgery import MAX_FRAMES_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx

    from tdt.model import FoundModel
    from tdt.quantization.engines.layers import LayerCount

ENGINE_NAME = "encoder.rtx.engine"
EP_NAME = "NvTensorRTRTXExecutionProvider"
_ENCODERS = {"onnx-asr": "encoder-model.onnx", "sherpa-onnx": "encoder.onnx"}


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """A finished folder and the report in it."""

    folder: Path
    report: dict[str, Any]


def build_engine(
    model: str | Path | None,
    output: str | Path,
    *,
    targets: Sequence[str] = DEFAULT,
    shapes: Shapes | None = None,
    precision: Any = None,
    min_int8: int | None = None,
    overwrite: bool = False,
    check: Callable[[LayerCount], None] | None = None,
) -> BuiltEngine:
    """Build a TensorRT-RTX engine of a model's encoder and write a model folder around it.

    Parameters
    ----------
    model : str, Path or None
        Folder or name; quantised with `tdt quantize` for int8.
    output : str or Path
        Folder to be made.
    targets : sequence of str
        Cards, such as ``sm_89``; the one engine runs on all of them.
    shapes : Shapes, optional
        Batches and lengths that it takes.
    precision : {"float32", "float16", "int8", "int4", "int2"}, optional
        Which encoder file to take.
    min_int8 : int, optional
        Linear layers that must be int8; by default, as many as the model's `quantization.json` says.
    overwrite : bool
        Write into a folder that holds something.
    check : callable, optional
        Is given the layer count before the building starts.

    Raises
    ------
    EngineBuildError
        As :func:`tdt.quantization.engines.builder.build` does.
    ModelError, OptionError
        Where the model or the folder cannot be used.
    """
    from tdt.model import inspect_model

    found, folder, shapes = inspect_model(model, precision=precision), Path(output), shapes or Shapes()
    check_folder(folder, found, overwrite=overwrite)
    notes = read_sidecar(found.files.encoder.parent)
    asked = min_int8 if min_int8 is not None else _asked(found, notes)
    spec = found.spec
    engine = build(found.files.encoder, targets, shapes, spec.n_mels, min_int8=asked, check=check)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ENGINE_NAME).write_bytes(engine.data)
    context = _context_model(found, engine, targets)
    (folder / _ENCODERS[found.files.layout]).write_bytes(context.SerializeToString())
    copy_rest(found, folder)
    report = _report(found, engine, targets, shapes, asked)
    (folder / REPORT_NAME).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return BuiltEngine(folder, report)


def _asked(found: FoundModel, notes: dict[str, Any] | None) -> int:
    if notes is not None and found.graphs["encoder"].quantization == "qdq":
        return len(notes.get("layers", []))
    return 0


def check_folder(folder: Path, found: FoundModel, *, overwrite: bool) -> None:
    """Refuse a folder that holds something, or the model itself.

    Raises
    ------
    OptionError
        Saying what is there.
    """
    if folder.exists() and not folder.is_dir():
        raise OptionError("output", str(folder), "a folder, or a path where one can be made")
    if folder.is_dir() and folder.resolve() == found.files.folder.resolve():
        raise OptionError("output", str(folder), "another folder than the model's own")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise OptionError("output", str(folder), "an empty folder, or --overwrite")


def _context_model(found: FoundModel, engine: Engine, targets: Sequence[str]) -> onnx.ModelProto:
    """Return a graph of one EPContext node that names the engine beside it."""
    from onnx import helper

    from tdt.onnxfile import load_model

    source = load_model(found.files.encoder, weights=False)
    inputs, outputs = list(source.graph.input), list(source.graph.output)
    node = helper.make_node(
        "EPContext",
        [value.name for value in inputs],
        [value.name for value in outputs],
        name="encoder",
        domain="com.microsoft",
        main_context=1,
        embed_mode=0,
        ep_cache_context=ENGINE_NAME,
        ep_sdk_version=engine.builder,
        hardware_architecture=",".join(targets),
        onnx_model_filename=found.files.encoder.name,
        partition_name="encoder",
        source=EP_NAME,
    )
    graph = helper.make_graph([node], "encoder", inputs, outputs)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="tdt build-engine")
    # What an engine is computed in cannot be seen from outside.
    numbers = {"subsampling_factor": str(found.spec.subsampling)}
    numbers[COMPUTED_IN_KEY] = computed_in(Backend("tensorrt-rtx"), found.graphs["encoder"])
    if found.spec.max_encoder_frames is not None:
        numbers[MAX_FRAMES_KEY] = str(found.spec.max_encoder_frames)
    helper.set_model_props(model, {**found.graphs["encoder"].metadata, **numbers})
    return model


def copy_rest(found: FoundModel, folder: Path, *, encoder: bool = False) -> None:
    """Copy vocabulary, decoder, configuration, and where asked for the encoder with its weights."""
    files = found.files
    wanted = [path for path in (files.vocabulary, files.decoder_joint, files.decoder, files.joiner) if path is not None]
    graphs = [graph for role, graph in found.graphs.items() if encoder or role != "encoder"]
    wanted += [files.encoder] if encoder else []
    wanted += sorted({ref.file for graph in graphs for ref in graph.external})
    wanted += [path for path in (files.folder / name for name in ("config.json", SIDECAR)) if path.is_file()]
    for path in wanted:
        shutil.copyfile(path, folder / path.name)


def _report(found: FoundModel, engine: Engine, targets: Sequence[str], shapes: Shapes, asked: int) -> dict[str, Any]:
    return {
        "format": 1,
        "engine": ENGINE_NAME,
        "bytes": len(engine.data),
        "targets": list(targets),
        "tensorrt_rtx": engine.builder,
        "source": {"file": found.files.encoder.name, "sha256": file_hash(found.files.encoder)},
        "quantization": found.graphs["encoder"].quantization,
        "layers": engine.layers.as_json(),
        "int8_asked": asked,
        "shapes": asdict(shapes),
    }
