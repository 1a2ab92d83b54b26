"""Recognise a model folder by its content, pick the files of a precision, and read the model's numbers."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tdt.errors import (
    ModelFileNotFoundError,
    ModelNotFoundError,
    OptionError,
    UnsupportedLayoutError,
)
from tdt.model.dimensions import build_spec, read_config
from tdt.model.roles import kind_of_export
from tdt.model.vocabulary import read_vocabulary
from tdt.onnxfile.graph import GraphInfo, read_graph
from tdt.spec import ModelFiles, ModelSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tdt.spec import Layout, Precision

CONFIG = "config.json"
BUNDLED = Path(__file__).parents[1] / "models" / "parakeet-tdt-tiny"

_INT8_SUFFIX = re.compile(r"[._-](?:q|u|qu)?int8$", re.IGNORECASE)
_log = logging.getLogger("tdt")


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
    precision : {"float32", "int8"} or None
        Which files to take where a folder holds both; None takes float32 where there, for each graph separately.
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
    if precision not in {None, "float32", "int8"}:
        raise OptionError("precision", precision, '"float32", "int8" or None')
    folder = locate(model, precision)
    files = recognise(folder, precision)
    graphs = read_graphs(files)
    files = _with_precisions(files, graphs)
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
    if model is None or str(model) == BUNDLED.name:
        return BUNDLED
    if not isinstance(model, (str, Path)) or not str(model).strip() or "\0" in str(model):
        raise OptionError("model", model, "a folder or the name of a model")
    try:
        folder = Path(model).expanduser()
        if folder.is_dir():
            return folder
        is_file = folder.is_file()
    except (OSError, RuntimeError) as error:
        raise ModelNotFoundError(
            f"{str(model)[:200]!r} cannot be a model folder: {error}. Pass another path."
        ) from error
    if is_file:
        raise ModelNotFoundError(
            f"{folder} is a file; expected the folder with all files of the model: {folder.parent}."
        )
    from tdt.model import hub

    if isinstance(model, str) and hub.is_name(model):
        return hub.fetch(model, precision)
    names = ", ".join([BUNDLED.name, *hub.NAMES])
    raise ModelNotFoundError(
        f"There is no model {str(model)!r}: no such folder, and no name that is known. "
        f"Pass a folder, a hub repository as owner/name, or one of: {names}."
    )


def recognise(folder: Path, precision: Precision | None = None) -> ModelFiles:
    """Return the files of the model in `folder`, told by their names alone.

    Raises
    ------
    ModelFileNotFoundError
        Where a file that the layout needs is missing, or the precision asked for is not there.
    UnsupportedLayoutError
        Where the folder holds another layout or another kind of model.
    """
    try:
        names = [entry.name for entry in folder.iterdir()]
    except OSError as error:
        raise ModelNotFoundError(f"{folder} cannot be listed: {error.strerror}. Check its permissions.") from error
    return choose(folder, names, precision)


def choose(folder: Path, listing: Sequence[str], precision: Precision | None = None) -> ModelFiles:
    """Choose files from the `listing` of `folder`; :func:`recognise` without the disk.

    Parameters
    ----------
    folder : Path
        Where the names stand; named in errors.
    listing : sequence of str
        File names.
    precision : {"float32", "int8"} or None
        Which files to take where there are both.
    """
    names = sorted(name for name in listing if not name.startswith("."))
    layout = _layout(folder, names)
    split = layout == "sherpa-onnx"
    encoder_stem, decoder_stem = ("encoder", "decoder") if split else ("encoder-model", "decoder_joint-model")
    encoder, encoder_precision = _pick(folder, names, encoder_stem, precision, strict=True)
    decoder, decoder_precision = _pick(folder, names, decoder_stem, precision, strict=False)
    joiner = _pick(folder, names, "joiner", precision, strict=False)[0] if split else None
    vocabulary = "tokens.txt" if split else "vocab.txt"
    if vocabulary not in names:
        raise ModelFileNotFoundError(folder, vocabulary, names)
    if not split and CONFIG not in names:
        example = 'such as {"features_size": 128, "subsampling_factor": 8} for an export of your own'
        raise ModelFileNotFoundError(folder, f"{CONFIG} ({example})", names)
    return ModelFiles(
        layout=layout,
        folder=folder,
        encoder=encoder,
        vocabulary=folder / vocabulary,
        decoder_joint=None if split else decoder,
        decoder=decoder if split else None,
        joiner=joiner,
        encoder_precision=encoder_precision,
        decoder_precision=decoder_precision,
    )


def read_graphs(files: ModelFiles) -> dict[str, GraphInfo]:
    """Return the graphs of a model by role (see :class:`FoundModel`)."""
    roles = ("encoder", "decoder_joint", "decoder", "joiner")
    paths = {role: getattr(files, role) for role in roles}
    return {role: read_graph(path) for role, path in paths.items() if path is not None}


def _with_precisions(files: ModelFiles, graphs: Mapping[str, GraphInfo]) -> ModelFiles:
    """Replace the precision that the names claim by what the graphs are."""
    decoder = graphs.get("decoder_joint") or graphs["decoder"]
    return replace(
        files,
        encoder_precision="float32" if graphs["encoder"].quantization == "float" else "int8",
        decoder_precision="float32" if decoder.quantization == "float" else "int8",
    )


def _layout(folder: Path, names: Sequence[str]) -> Layout:
    onnx = [name for name in names if name.endswith(".onnx")]

    def has(prefix: str) -> bool:
        return any(name.startswith(prefix) for name in onnx)

    if has("encoder-model") or has("decoder_joint-model"):
        return "onnx-asr"
    if has("joiner") or (has("encoder") and has("decoder") and "tokens.txt" in names):
        return "sherpa-onnx"
    raise UnsupportedLayoutError(_refusal(folder, names, onnx))


def _refusal(folder: Path, names: Sequence[str], onnx: Sequence[str]) -> str:
    expected = (
        "Expected the onnx-asr layout (encoder-model.onnx, decoder_joint-model.onnx, vocab.txt, config.json) "
        "or the sherpa-onnx layout (encoder.onnx, decoder.onnx, joiner.onnx, tokens.txt)."
    )
    if "genai_config.json" in names:
        return (
            f"{folder} is in the onnxruntime-genai layout (genai_config.json), which is not supported: its graphs are "
            f"windowed and its blank rule differs from NeMo's. {expected}"
        )
    if any(name.endswith(".nemo") for name in names):
        return f"{folder} holds a NeMo checkpoint (.nemo), not ONNX graphs. Export it with NeMo first. {expected}"
    hint = kind_of_export([folder / name for name in onnx])
    if hint:
        return f"{folder} holds {hint}. Only transducers with duration outputs (TDT) are supported. {expected}"
    listed = ", ".join(names[:12]) or "nothing"
    return f"{folder} holds no model in a known layout. Found there: {listed}. {expected}"


def _pick(
    folder: Path, names: Sequence[str], stem: str, precision: Precision | None, *, strict: bool
) -> tuple[Path, Precision]:
    candidates: dict[Precision, str] = {}
    bases = [name.removesuffix(".onnx") for name in names if name.endswith(".onnx") and name.startswith(stem)]
    # The published names first, then other spellings of them, then names with more in them.
    for base in sorted(
        bases, key=lambda base: (base not in {stem, f"{stem}.int8"}, _INT8_SUFFIX.sub("", base) != stem)
    ):
        candidates.setdefault("int8" if _INT8_SUFFIX.search(base) else "float32", f"{base}.onnx")
    if not candidates:
        raise ModelFileNotFoundError(folder, f"{stem}*.onnx", names)
    wanted: Precision = precision or ("float32" if "float32" in candidates else "int8")
    if wanted not in candidates:
        if strict:
            there = ", ".join(f"{kind} ({name})" for kind, name in sorted(candidates.items()))
            raise ModelFileNotFoundError(folder, f"{stem} in precision {wanted!r}, only {there}", names)
        other = next(iter(candidates))
        _log.info("%s holds no %s in %s; taking %s", folder, stem, wanted, candidates[other])
        wanted = other
    return folder / candidates[wanted], wanted
