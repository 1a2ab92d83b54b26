"""Read the numbers of a model from its graphs and metadata, and check that its parts belong together. Pure."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Literal

from tdt.checks import WHOLE, whole_number
from tdt.errors import ModelFileCorruptError, ModelMismatchError, UnsupportedLayoutError
from tdt.model.durations import duration_table
from tdt.model.roles import check_roles
from tdt.onnxfile import read_small
from tdt.showing import shown
from tdt.spec import FRONT_CHANNELS, ModelSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tdt.onnxfile import GraphInfo
    from tdt.spec import ModelFiles

MAX_CONFIG_BYTES = 1 << 20
TOKENIZER = "tokenizer.model"  # as NeMo and the hub name it
_SHERPA_MELS = 80  # sherpa-onnx writes no feat_dim for models of 80 mel bins
_DEFAULT_MAX_SYMBOLS = 10  # NeMo's default
_log = logging.getLogger("tdt")


def read_config(path: Path) -> dict[str, Any]:
    """Return the JSON object in `config.json`.

    Raises
    ------
    ModelFileCorruptError
        Where it is too large, no JSON, no object, or a number in it is none.
    """
    content = read_small(path, MAX_CONFIG_BYTES)
    try:
        config = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelFileCorruptError(path, f"it is not JSON ({error})") from error
    if not isinstance(config, dict):
        raise ModelFileCorruptError(path, f"it holds a JSON {type(config).__name__}, expected an object")
    for key, most in (("features_size", 1024), ("subsampling_factor", 256), ("max_tokens_per_step", 10_000)):
        value = config.get(key)
        if value is not None and not (type(value) is int and 1 <= value <= most):
            raise ModelFileCorruptError(path, f"{key} is {shown(value, 60)}, expected a whole number from 1 to {most}")
    if not isinstance(config.get("model_type", ""), str):
        raise ModelFileCorruptError(path, f"model_type is {shown(config['model_type'], 60)}, expected a string")
    return config


def build_spec(
    files: ModelFiles,
    graphs: Mapping[str, GraphInfo],
    config: Mapping[str, Any],
    pieces: tuple[str, ...],
    *,
    name: str,
    durations: Sequence[int] | None = None,
    max_symbols: int | None = None,
) -> ModelSpec:
    """Return the numbers of a model.

    Parameters
    ----------
    files : ModelFiles
        Where its parts lie; named in errors.
    graphs : mapping of str to GraphInfo
        Its graphs by role.
    config : mapping
        Content of `config.json`, or empty.
    pieces : tuple of str
        Its vocabulary, blank last.
    name : str
        What the model is called.
    durations, max_symbols
        As :func:`tdt.model.finding.find_model` has them.

    Raises
    ------
    ModelMismatchError
        Where parts do not fit together.
    UnsupportedLayoutError
        Where the joint network has no duration outputs.
    OptionError
        Where `durations` or `max_symbols` cannot be used.
    """
    encoder = graphs["encoder"]
    decoder = graphs.get("decoder_joint") or graphs["decoder"]
    joint = graphs.get("decoder_joint") or graphs["joiner"]
    check_roles(graphs)
    metadata = {**decoder.metadata, **joint.metadata, **encoder.metadata}
    layers, hidden = _state_shape(decoder)
    return ModelSpec(
        name=name,
        n_mels=_mels(files, encoder, config),
        subsampling=_subsampling(files, encoder, config),
        encoder_dim=_encoder_dim(encoder, joint),
        pieces=pieces,
        blank_id=len(pieces) - 1,
        durations=duration_table(files, decoder, joint, pieces, {**config, **metadata}, durations),
        predictor_layers=layers,
        predictor_hidden=hidden,
        normalize=_normalize(encoder),
        max_encoder_frames=encoder.position_rows,
        front_channels=_front_channels(encoder),
        max_symbols=_max_symbols(max_symbols, config),
        tokenizer=tokenizer if (tokenizer := files.folder / TOKENIZER).is_file() else None,
    )


def _mels(files: ModelFiles, encoder: GraphInfo, config: Mapping[str, Any]) -> int:
    declared = config.get("features_size") or _number(encoder, "feat_dim", 1024)
    fixed = encoder.inputs[0].fixed(1)
    if fixed is not None and declared is not None and fixed != declared:
        raise ModelMismatchError(
            f"{encoder.path} takes {fixed} mel bins, but the metadata of {files.folder} says {declared}. "
            "The files come from different models: download them again."
        )
    mels = fixed or declared or (_SHERPA_MELS if files.layout == "sherpa-onnx" else None)
    if mels is None:
        raise ModelMismatchError(
            f"{encoder.path} does not say how many mel bins it takes. Expected a fixed second dimension, or "
            "features_size in config.json: add it."
        )
    return mels


def _subsampling(files: ModelFiles, encoder: GraphInfo, config: Mapping[str, Any]) -> int:
    declared = config.get("subsampling_factor") or _number(encoder, "subsampling_factor", 256)
    strides = encoder.time_stride
    if declared is None and strides <= 1:
        where = (
            "subsampling_factor in config.json" if files.layout == "onnx-asr" else "subsampling_factor in its metadata"
        )
        raise ModelMismatchError(
            f"{encoder.path} does not say by how much it shortens its input, and its convolutions do not show it. "
            f"Expected {where}: add it."
        )
    if declared is not None and strides > 1 and strides != declared:
        _log.warning("%s: subsampling is declared as %d, its strides multiply to %d", encoder.path, declared, strides)
    subsampling = int(declared or strides)
    if subsampling & (subsampling - 1):
        raise ModelMismatchError(
            f"{files.folder} declares a subsampling factor of {subsampling}; expected a power of two, as its encoder "
            "halves the frames. Correct config.json or the metadata."
        )
    return subsampling


def _front_channels(encoder: GraphInfo) -> int:
    """Return the most channels of its two-dimensional convolutions; where none shows, those of the published models."""
    convolutions = [node for node in encoder.nodes if node.op_type.startswith("Conv") and len(node.inputs) > 1]
    weights = [encoder.constant_behind(node.inputs[1]) for node in convolutions]
    return max((w.shape[0] for w in weights if w is not None and len(w.shape) == 4), default=FRONT_CHANNELS)


def _number(graph: GraphInfo, key: str, most: int) -> int | None:
    value = graph.metadata.get(key)
    if value is None or not value.strip():
        return None
    if not (value.isascii() and value.isdigit() and len(value) <= 9 and 1 <= int(value) <= most):
        raise ModelFileCorruptError(
            graph.path, f"its metadata {key} is {shown(value, 60)}, expected a number from 1 to {most}"
        )
    return int(value)


def _encoder_dim(encoder: GraphInfo, joint: GraphInfo) -> int:
    given, wanted = encoder.outputs[0].fixed(1), joint.inputs[0].fixed(1)
    if given is not None and wanted is not None and given != wanted:
        raise ModelMismatchError(
            f"{encoder.path.name} gives frames of {given} numbers, but {joint.path.name} takes {wanted}. "
            "The files come from different models: download them again."
        )
    dim = given or wanted
    if dim is None or dim < 1:
        raise ModelMismatchError(f"Neither {encoder.path} nor {joint.path} declares the size of an encoder frame.")
    return dim


def _state_shape(decoder: GraphInfo) -> tuple[int, int]:
    hidden_port, cell_port = decoder.inputs[-2:]
    layers = hidden_port.fixed(0) or cell_port.fixed(0)
    hidden = hidden_port.fixed(2) or cell_port.fixed(2)
    lstms = [node for node in decoder.nodes if node.op_type in {"LSTM", "DynamicQuantizeLSTM"}]
    layers = layers or len(lstms) or None
    hidden = hidden or next((node.ints["hidden_size"][0] for node in lstms if "hidden_size" in node.ints), None)
    if layers is None or hidden is None or not (1 <= layers <= 64 and 1 <= hidden <= 65_536):
        raise ModelMismatchError(
            f"{decoder.path} has state inputs of shape {hidden_port.shape} and {cell_port.shape}; expected "
            "[layers, batch, hidden] with fixed layers and hidden."
        )
    return layers, hidden


def _normalize(encoder: GraphInfo) -> Literal["per_feature", "none"]:
    kind = encoder.metadata.get("normalize_type")
    if kind is None or kind == "per_feature":
        return "per_feature"
    if kind in {"", "NA", "none", "None"}:
        return "none"
    raise UnsupportedLayoutError(
        f"{encoder.path} wants features normalised as {shown(kind, 60)}; supported are per_feature and none (NA)."
    )


def _max_symbols(given: int | None, config: Mapping[str, Any]) -> int:
    if given is None:
        return int(config.get("max_tokens_per_step") or _DEFAULT_MAX_SYMBOLS)
    return whole_number("max_symbols", given, *WHOLE["max_symbols"])
