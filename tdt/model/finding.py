"""Find a model by folder or name, and read its numbers: every check that needs no session."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from tdt.checks import one_of, whole_option
from tdt.errors import ModelFileNotFoundError, ModelNotFoundError, OptionError
from tdt.model import hub
from tdt.model.dimensions import build_spec, read_config
from tdt.model.durations import as_table
from tdt.model.layouts import CONFIG, recognise
from tdt.model.precisions import held_by, said_by
from tdt.model.vocabulary import read_vocabulary
from tdt.onnxfile import GraphInfo, read_graph
from tdt.spec import Precision

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tdt.spec import ModelFiles, ModelSpec

BUNDLED = Path(__file__).parents[1] / "models" / "parakeet-tdt-tiny"


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A recognised model with the graphs as they were read.

    Parameters
    ----------
    files, spec
        What :func:`find_model` returns.
    graphs : mapping of str to GraphInfo
        By role: encoder, and decoder_joint or decoder and joiner.
    config : mapping
        Content of `config.json`; empty where the layout has none.
    """

    files: ModelFiles
    spec: ModelSpec
    graphs: Mapping[str, GraphInfo]
    config: Mapping[str, object]


def find_model(
    model: str | Path | None = None,
    *,
    precision: Precision | None = None,
    durations: Sequence[int] | None = None,
    max_symbols: int | None = None,
) -> tuple[ModelFiles, ModelSpec]:
    """Return the files and numbers of a model, after all checks that need no session.

    Parameters
    ----------
    model : str, Path or None
        A folder in the onnx-asr or sherpa-onnx layout, a hub name, or None for the bundled model.
    precision : {"float32", "float16", "int8", "int4", "int2"} or None
        Which files to take where a folder holds several; None takes the finest that is there, for each graph
        separately.
    durations : sequence of int, optional
        Duration table in encoder frames; default is what the metadata says, else ``0 .. n-1``.
    max_symbols : int, optional
        Most tokens on one encoder frame; default is what `config.json` says, else 10.

    Returns
    -------
    files : ModelFiles
        Paths.
    spec : ModelSpec
        Numbers.

    Raises
    ------
    ModelError
        In its kinds: not found, a file missing or corrupt, an unsupported layout, parts that do not fit together,
        external data that is missing or outside the folder, a failed download.
    OptionError
        Where an argument has no usable value.
    """
    found = inspect_model(model, precision=precision, durations=durations, max_symbols=max_symbols)
    return found.files, found.spec


def inspect_model(
    model: str | Path | None = None,
    *,
    precision: Precision | None = None,
    durations: Sequence[int] | None = None,
    max_symbols: int | None = None,
) -> FoundModel:
    """Return what :func:`find_model` does, together with the graphs that were read."""
    if precision is not None:
        one_of("precision", precision, get_args(Precision))
    durations = None if durations is None else as_table("durations", durations)
    max_symbols = whole_option("max_symbols", max_symbols)
    folder = locate(model, precision)
    files = recognise(folder, precision)
    graphs = read_graphs(files)
    files = _with_precisions(files, graphs)
    _check_precision(files, precision)
    config = read_config(folder / CONFIG) if files.layout == "onnx-asr" else {}
    pieces = read_vocabulary(files.vocabulary)
    name = folder.resolve().name if model is None or Path(model).is_dir() else str(model)
    spec = build_spec(files, graphs, config, pieces, name=name, durations=durations, max_symbols=max_symbols)
    return FoundModel(files, spec, graphs, config)


def locate(model: str | Path | None, precision: Precision | None = None) -> Path:
    """Return the folder of a model: the bundled one, a folder on disk, or one fetched from the hub.

    Raises
    ------
    ModelNotFoundError
        Where `model` is neither a folder nor a known name.
    DownloadError
        Where a hub name cannot be fetched.
    """
    if model is None:
        return BUNDLED
    if not isinstance(model, (str, Path)) or not str(model).strip() or "\0" in str(model):
        raise OptionError("model", model, "a folder or the name of a model")
    if str(model) == BUNDLED.name:
        return BUNDLED
    try:
        folder = Path(model).expanduser()
        if folder.is_dir():
            return folder
        is_file = folder.is_file()
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelNotFoundError(
            f"{str(model)[:200]!r} cannot be a model folder: {error}. Pass another path."
        ) from error
    if is_file:
        raise ModelNotFoundError(
            f"{folder} is a file; expected the folder with all files of the model: {folder.parent}."
        )
    if isinstance(model, str) and hub.is_name(model):
        return hub.fetch(model, precision)
    names = ", ".join([BUNDLED.name, *hub.NAMES])
    raise ModelNotFoundError(
        f"There is no model {str(model)!r}: no such folder, and no name that is known. "
        f"Pass a folder, a hub repository as owner/name, or one of: {names}."
    )


def read_graphs(files: ModelFiles) -> dict[str, GraphInfo]:
    """Return the graphs of a model by role (see :class:`FoundModel`)."""
    roles = ("encoder", "decoder_joint", "decoder", "joiner")
    paths = {role: getattr(files, role) for role in roles}
    return {role: read_graph(path) for role, path in paths.items() if path is not None}


def _with_precisions(files: ModelFiles, graphs: Mapping[str, GraphInfo]) -> ModelFiles:
    """Replace the precision that the names claim by what the graphs hold."""
    decoder = graphs.get("decoder_joint") or graphs["decoder"]
    return replace(files, encoder_precision=held_by(graphs["encoder"]), decoder_precision=held_by(decoder))


def _check_precision(files: ModelFiles, asked: Precision | None) -> None:
    """Refuse an encoder in another precision than was asked for, where its name says none."""
    held = files.encoder_precision
    if asked not in {None, held} and said_by(files.encoder.stem) is None:
        expected = f"encoder in precision {asked!r}, only {held} ({files.encoder.name})"
        raise ModelFileNotFoundError(files.folder, expected, [path.name for path in files.folder.iterdir()])
