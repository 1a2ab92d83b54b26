"""Recognise the layout of a model folder by its file names and pick the files of a precision."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, get_args

from tdt.errors import (
    ModelFileNotFoundError,
    ModelNotFoundError,
    UnsupportedLayoutError,
)
from tdt.model.precisions import held_by, said_by, without_precision
from tdt.model.roles import kind_of_export
from tdt.onnxfile import read_graph
from tdt.spec import ModelFiles, Precision

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from tdt.spec import Layout

    Held = Callable[[Path], Precision]

CONFIG = "config.json"

_log = logging.getLogger("tdt")


def recognise(folder: Path, precision: Precision | None = None) -> ModelFiles:
    """Return the files of the model in `folder`, told by their names, and by their graphs where names do not help.

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
    return choose(folder, names, precision, held=lambda path: held_by(read_graph(path)))


def choose(
    folder: Path, listing: Sequence[str], precision: Precision | None = None, *, held: Held | None = None
) -> ModelFiles:
    """Choose files from the `listing` of `folder`; :func:`recognise` without the disk.

    Parameters
    ----------
    folder : Path
        Where the names stand; named in errors.
    listing : sequence of str
        File names.
    precision : {"float32", "float16", "int8", "int4", "int2"} or None
        Which files to take where there are several; the finest by default. A decoder that is not there in it is taken
        in the next finer one.
    held : callable, optional
        Tells what a file holds whose name does not say it; asked where none is called what is wanted.
    """
    names = sorted(name for name in listing if not name.startswith("."))
    layout = _layout(folder, names)
    split = layout == "sherpa-onnx"
    encoder_stem, decoder_stem = ("encoder", "decoder") if split else ("encoder-model", "decoder_joint-model")
    encoder, encoder_precision = _pick(folder, names, encoder_stem, precision, held, strict=True)
    decoder, decoder_precision = _pick(folder, names, decoder_stem, precision, held, strict=False)
    joiner = _pick(folder, names, "joiner", precision, held, strict=False)[0] if split else None
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
    nemo = next((name for name in names if name.endswith(".nemo")), "")
    if nemo:
        return (
            f"{folder} holds a NeMo checkpoint ({nemo}), not ONNX graphs. Make a model of it without NeMo: "
            f"`tdt convert {nemo} -o DIR`. {expected}"
        )
    if any(name.endswith(".safetensors") for name in names):
        return (
            f"{folder} holds a checkpoint of Transformers (.safetensors), not ONNX graphs. Make a model of it, where "
            f"config.json says parakeet_tdt: `tdt convert FOLDER -o DIR`. {expected}"
        )
    other = next((name for name in names if name.endswith((".gguf", ".mlmodelc", ".mlpackage", ".tflite"))), "")
    if other:
        return f"{folder} holds a model for another runtime ({other}), not ONNX graphs. {expected}"
    hint = kind_of_export([folder / name for name in onnx])
    if hint:
        return f"{folder} holds {hint}. Only transducers with duration outputs (TDT) are supported. {expected}"
    listed = ", ".join(names[:12]) or "nothing"
    return f"{folder} holds no model in a known layout. Found there: {listed}. {expected}"


def _pick(
    folder: Path, names: Sequence[str], stem: str, precision: Precision | None, held: Held | None, *, strict: bool
) -> tuple[Path, Precision]:
    candidates: dict[Precision, str] = {}
    bases = [name.removesuffix(".onnx") for name in names if name.endswith(".onnx") and name.startswith(stem)]
    # The published names first, then other spellings of them, then names with more in them.
    for base in sorted(bases, key=lambda base: (base not in _published(stem), without_precision(base) != stem)):
        candidates.setdefault(said_by(base) or "float32", f"{base}.onnx")
    if not candidates:
        raise ModelFileNotFoundError(folder, f"{stem}*.onnx", names)
    wanted: Precision = precision or _finest(candidates)
    if wanted not in candidates and held is not None:
        _look_inside(folder, candidates, held)
    if wanted not in candidates:
        if strict:
            there = _listed(candidates, certain=held is not None)
            raise ModelFileNotFoundError(folder, f"{stem} in precision {wanted!r}, only {there}", names)
        other = _next_to(wanted, candidates)
        _log.info("%s holds no %s in %s; taking %s", folder, stem, wanted, candidates[other])
        wanted = other
    return folder / candidates[wanted], wanted


def _look_inside(folder: Path, candidates: dict[Precision, str], held: Held) -> None:
    """Let a file whose name says nothing stand for what its graph holds."""
    name = candidates.get("float32", "")
    if name and said_by(name.removesuffix(".onnx")) is None:
        kind = held(folder / name)
        if kind != "float32":
            del candidates["float32"]
            candidates.setdefault(kind, name)


def _listed(candidates: Mapping[Precision, str], *, certain: bool) -> str:
    """Return precisions and their files as a list for people, the finest first."""
    shown: list[str] = []
    for kind in get_args(Precision):
        name = candidates.get(kind, "")
        silent = kind == "float32" and said_by(name.removesuffix(".onnx")) is None and not certain
        if name:
            shown.append(f"{name}, which says none (it comes without `precision`)" if silent else f"{kind} ({name})")
    return ", ".join(shown)


def _finest(candidates: Mapping[Precision, str]) -> Precision:
    kinds: tuple[Precision, ...] = get_args(Precision)
    return next(kind for kind in kinds if kind in candidates)


def _next_to(wanted: Precision, candidates: Mapping[Precision, str]) -> Precision:
    """Return the coarsest of those finer than `wanted`; the finest where none is."""
    kinds: tuple[Precision, ...] = get_args(Precision)
    finer = [kind for kind in kinds[: kinds.index(wanted)] if kind in candidates]
    return finer[-1] if finer else _finest(candidates)


def _published(stem: str) -> set[str]:
    return {stem, f"{stem}.fp16", f"{stem}.int8", f"{stem}.int4"}
