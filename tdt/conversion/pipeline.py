"""Convert: a checkpoint onto the graphs of a published model, or a model from one layout into the other."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from tdt.conversion.checking import check_model
from tdt.conversion.checkpoint import is_checkpoint, read_checkpoint
from tdt.conversion.folder import check_output, filled
from tdt.conversion.layouts import VOCABULARY, config_json, file_names, in_layout, set_metadata, sherpa_metadata
from tdt.conversion.matching import match
from tdt.conversion.vocabulary import vocabulary_file
from tdt.conversion.writing import Weights, write_graph
from tdt.errors import CheckpointError, OptionError
from tdt.model import inspect_model
from tdt.onnxfile import load_model
from tdt.spec import Layout
from tdt.surgery import EditableGraph

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tdt.conversion.checkpoint import Checkpoint
    from tdt.conversion.configuration import Architecture
    from tdt.conversion.matching import Match
    from tdt.model import FoundModel
    from tdt.spec import ModelSpec, Precision

LAYOUTS: tuple[Layout, ...] = get_args(Layout)
Progress = Callable[[str, float, float], None]
# (width, layers, pieces; None: any) -> the published model of that architecture. None is the bundled one.
_GRAPHS: tuple[tuple[int, int, int | None, str | None], ...] = (
    (144, 8, 256, None),
    (1024, 24, 8192, "parakeet-tdt-0.6b-v3"),
    (1024, 24, 1024, "parakeet-tdt-0.6b-v2"),
    (1024, 42, None, "parakeet-tdt-1.1b"),
    (512, 17, None, "parakeet-tdt_ctc-110m"),
)


@dataclass(frozen=True, slots=True)
class Converted:
    """A finished model folder, and what became of what.

    Parameters
    ----------
    folder : Path
    layout : {"onnx-asr", "sherpa-onnx"}
    source : str
        "NeMo", "Transformers" or the layout that was converted.
    graph : str
        The model whose graphs these are.
    replaced : mapping of str to int
        Weights by graph.
    kept : mapping of str to tuple of str
        Constants of more than one number that stay as they were, by graph.
    used, unused : tuple of str
        Tensors of the checkpoint, by NeMo's names.
    bytes : int
        Size of the graphs and their weights.
    """

    folder: Path
    layout: Layout
    source: str
    graph: str
    replaced: Mapping[str, int] = field(default_factory=dict)
    kept: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    used: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    bytes: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {
            "folder": str(self.folder), "layout": self.layout, "source": self.source, "graph": self.graph,
            "replaced": dict(self.replaced), "kept": {role: list(names) for role, names in self.kept.items()},
            "used": len(self.used), "unused": list(self.unused), "bytes": self.bytes,
        }  # fmt: skip


def convert(
    source: str | Path,
    output: str | Path,
    *,
    graph: str | Path | None = None,
    layout: Layout | None = None,
    precision: Precision | None = None,
    overwrite: bool = False,
    progress: Progress = lambda *_: None,
) -> Converted:
    """Write a model folder from a checkpoint, or from a model in the other layout.

    Parameters
    ----------
    source : str or Path
        A `.nemo` file, a `model.safetensors` or a folder with one; or a model's folder or name, to change its layout.
    output : str or Path
        Folder to be made. Nothing is there until all is written and was run once.
    graph : str or Path, optional
        Folder or name of the model whose graphs take the checkpoint's weights; by default the published one of the
        same architecture.
    layout : {"onnx-asr", "sherpa-onnx"}, optional
        Of the result; by default that of `graph`.
    precision : {"float32", "float16", "int8", "int4", "int2"}, optional
        Which files of the graphs, or of the model, to take.
    overwrite : bool
        Whether a model in the output folder may be replaced.
    progress : callable
        Is told a task, how much of it is done and how much there is.

    Returns
    -------
    Converted

    Raises
    ------
    UnsafeCheckpointError, OtherModelError, CheckpointError
        Where the checkpoint is unsafe, of another kind, damaged, or does not fit the graphs.
    MissingDependencyError
        Where a `.nemo` file is to be read and a package of the extra `convert` is missing.
    ModelError, OptionError, OutputError
        Where the graphs, an argument or the folder cannot be used.
    """
    if layout is not None and layout not in LAYOUTS:
        raise OptionError("layout", layout, " or ".join(LAYOUTS))
    folder = Path(output)
    path = Path(source).expanduser()
    if is_checkpoint(path) or path.suffix in {".nemo", ".safetensors"}:
        return _from_checkpoint(path, folder, graph, layout, precision, overwrite, progress)
    if layout is None:
        raise OptionError("layout", None, f"{' or '.join(LAYOUTS)}, to bring the model {str(source)[:200]} into")
    if graph is not None:
        raise OptionError("graph", graph, "none: a model keeps its own graphs when its layout is changed")
    return _from_model(source, folder, layout, precision, overwrite, progress)


def _from_checkpoint(
    path: Path,
    folder: Path,
    graph: str | Path | None,
    layout: Layout | None,
    precision: Precision | None,
    overwrite: bool,
    progress: Progress,
) -> Converted:
    progress("reading", 0, 1)
    checkpoint = read_checkpoint(path)
    named = default_graph(checkpoint.architecture, path) if graph is None else graph
    found = inspect_model(named, precision=precision or "float32")
    if not {found.files.encoder_precision, found.files.decoder_precision} <= {"float32", "float16"}:
        raise OptionError("graph", str(named), "graphs in float32 or float16: quantised weights cannot be replaced")
    layout = layout or found.files.layout
    check_output(folder, found.files.folder, path.parent, overwrite=overwrite)
    graphs = in_layout(_graphs(found), layout, found.files.folder)
    matched = match(checkpoint, graphs)
    progress("reading", 1, 1)
    spec = _numbers(checkpoint, found)
    with filled(folder) as work:
        size = _write(graphs, work, layout, spec, path.stem, found, progress, checkpoint, matched)
        progress("checking", 0, 1)
        check_model(work, checkpoint, found.files.encoder_precision)
        progress("checking", 1, 1)
    replaced = {role: len(recipes) for role, recipes in matched.weights.items()}
    return Converted(
        folder, layout, checkpoint.source, found.spec.name, replaced, matched.kept, matched.used, matched.unused, size
    )


def _from_model(
    model: str | Path, folder: Path, layout: Layout, precision: Precision | None, overwrite: bool, progress: Progress
) -> Converted:
    progress("reading", 0, 1)
    found = inspect_model(model, precision=precision)
    if found.files.layout == layout:
        raise OptionError("layout", layout, f"another one than that of {found.files.folder}")
    check_output(folder, found.files.folder, overwrite=overwrite)
    graphs = in_layout(_graphs(found), layout, found.files.folder)
    progress("reading", 1, 1)
    with filled(folder) as work:
        size = _write(graphs, work, layout, found.spec, found.spec.name, found, progress)
        progress("checking", 0, 1)
        check_model(work, None, found.files.encoder_precision)
        progress("checking", 1, 1)
    return Converted(folder, layout, found.files.layout, found.spec.name, bytes=size)


def default_graph(stated: Architecture, path: Path) -> str | None:
    """Return the published model of an architecture; None is the bundled one.

    Raises
    ------
    CheckpointError
        Where there is none.
    """
    for width, layers, pieces, name in _GRAPHS:
        if (stated.width, stated.layers) == (width, layers) and pieces in {None, stated.vocabulary}:
            return name
    raise CheckpointError(
        path, f"it is {stated}, which is none of the published models",
        "Say whose graphs to take: --graph MODEL, an ONNX export of the same architecture",
    )  # fmt: skip


def _graphs(found: FoundModel) -> dict[str, EditableGraph]:
    return {
        role: EditableGraph(load_model(info.path, weights=False), info.weights_folder)
        for role, info in found.graphs.items()
    }


def _numbers(checkpoint: Checkpoint, found: FoundModel) -> ModelSpec:
    """Return the graphs' numbers with the checkpoint's vocabulary, durations and features."""
    from dataclasses import replace

    stated = checkpoint.architecture
    return replace(
        found.spec,
        pieces=checkpoint.pieces,
        blank_id=len(checkpoint.pieces) - 1,
        durations=stated.durations,
        normalize="per_feature" if stated.normalize == "per_feature" else "none",
        max_symbols=stated.max_symbols,
    )


def _write(
    graphs: Mapping[str, EditableGraph],
    work: Path,
    layout: Layout,
    spec: ModelSpec,
    name: str,
    found: FoundModel,
    progress: Progress,
    checkpoint: Checkpoint | None = None,
    matched: Match | None = None,
) -> int:
    """Write all files of a model; returns the bytes of its graphs."""
    (work / VOCABULARY[layout]).write_bytes(vocabulary_file(spec.pieces))
    if layout == "onnx-asr":
        (work / "config.json").write_bytes(config_json(spec))
        own = {} if spec.normalize == "per_feature" else {"normalize_type": "NA"}
    else:
        own = sherpa_metadata(spec, name)
    set_metadata(graphs["encoder"].model, own)
    total = sum(info.file_bytes + info.external_bytes for info in found.graphs.values())
    done = written = 0

    def tell(size: int) -> None:
        nonlocal done
        done += size
        progress("writing", min(done, total), total)

    def put(role: str, tell: Callable[[int], None]) -> int:
        precision = found.files.encoder_precision if role == "encoder" else found.files.decoder_precision
        file, data = file_names(layout, role, precision)
        weights = None
        if checkpoint is not None and matched is not None:
            weights = Weights(matched.weights[role], checkpoint.tensors, checkpoint.path)
        return write_graph(graphs[role], work / file, data, weights, tell)

    # The small graphs beside the encoder, which waits for the disk; what they write is told with the last of it.
    with ThreadPoolExecutor(1, "tdt-convert") as pool:
        beside = [pool.submit(put, role, lambda _: None) for role in graphs if role != "encoder"]
        written = put("encoder", tell)
        written += sum(other.result() for other in beside)
    progress("writing", total, total)
    return written
