"""Read the numbers of a model from its graphs and metadata, and check that its parts belong together. Pure."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Literal

from tdt.content import read_small
from tdt.errors import ModelError, ModelFileCorruptError, ModelMismatchError, OptionError, UnsupportedLayoutError
from tdt.graph import GraphInfo, read_graph
from tdt.spec import ModelFiles, ModelSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tdt.proto import Port

MAX_CONFIG_BYTES = 1 << 20
MAX_DEFAULT_DURATIONS = 64  # more outputs than this beside the tokens are no durations, but a wrong vocabulary
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
            raise ModelFileCorruptError(path, f"{key} is {_short(value)}, expected a whole number from 1 to {most}")
    if not isinstance(config.get("model_type", ""), str):
        raise ModelFileCorruptError(path, f"model_type is {_short(config['model_type'])}, expected a string")
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
        As :func:`tdt.layouts.find_model` has them.

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
        durations=_durations(files, decoder, joint, pieces, {**config, **metadata}, durations),
        predictor_layers=layers,
        predictor_hidden=hidden,
        normalize=_normalize(encoder),
        max_encoder_frames=encoder.position_rows,
        max_symbols=_max_symbols(max_symbols, config),
    )


# role -> (input ranks, output ranks); floats and integers are told by the rank: lengths and targets are integers.
_RANKS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "encoder": ((3, 1), (3, 1)),
    "decoder_joint": ((3, 2, 1, 3, 3), (4, 1, 3, 3)),
    "decoder": ((2, 1, 3, 3), (3, 1, 3, 3)),
    "joiner": ((3, 3), (4,)),
}
_DESCRIBED = {
    "encoder": "an encoder",
    "decoder_joint": "a fused decoder and joint network",
    "decoder": "a prediction network",
    "joiner": "a joint network",
}


def role_of(graph: GraphInfo) -> str | None:
    """Return which part of a transducer the ports of `graph` are those of, or None."""
    return next(
        (role for role, ranks in _RANKS.items() if _fits(graph.inputs, ranks[0]) and _fits(graph.outputs, ranks[1])),
        None,
    )


def _fits(ports: Sequence[Port], ranks: tuple[int, ...]) -> bool:
    if len(ports) != len(ranks):
        return False
    return all(port.rank in {None, rank} and _kind_fits(port, rank) for port, rank in zip(ports, ranks, strict=True))


def _kind_fits(port: Port, rank: int) -> bool:
    kinds = {"float32", "float16", "bfloat16"} if rank >= 3 else {"int32", "int64"}
    return port.dtype in kinds


def check_roles(graphs: Mapping[str, GraphInfo]) -> None:
    """Refuse graphs whose ports are not those of their role.

    Raises
    ------
    ModelMismatchError
        Where a file holds another part, or something else.
    """
    for role, graph in graphs.items():
        if _fits(graph.inputs, _RANKS[role][0]) and _fits(graph.outputs, _RANKS[role][1]):
            continue
        actual = role_of(graph)
        is_what = f"{_DESCRIBED[actual]}: files were swapped" if actual else f"something else ({ports_text(graph)})"
        raise ModelMismatchError(
            f"{graph.path} should hold {_DESCRIBED[role]}, but holds {is_what}. Download the model again."
        )


def ports_text(graph: GraphInfo) -> str:
    """Return the ports of a graph in one line."""

    def listed(ports: Sequence[Port]) -> str:
        shown = [f"{p.name} {p.dtype}{list(p.shape) if p.shape is not None else ''}" for p in ports[:6]]
        return ", ".join(shown) or "none"

    return f"inputs {listed(graph.inputs)}; outputs {listed(graph.outputs)}"


def joint_width_hint(paths: Sequence[Path]) -> str | None:
    """Say what kind of export a folder without a transducer's files holds, where a graph can tell."""
    for path in paths[:4]:
        try:
            graph = read_graph(path)
        except ModelError:
            continue
        if _fits(graph.inputs, (3, 1)) and len(graph.outputs) in {1, 2} and role_of(graph) is None:
            return f"a CTC export ({path.name} gives log-probabilities straight from audio features)"
    return None


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


def _number(graph: GraphInfo, key: str, most: int) -> int | None:
    value = graph.metadata.get(key)
    if value is None or not value.strip():
        return None
    if not (value.isascii() and value.isdigit() and len(value) <= 9 and 1 <= int(value) <= most):
        raise ModelFileCorruptError(
            graph.path, f"its metadata {key} is {_short(value)}, expected a number from 1 to {most}"
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


def joint_width(joint: GraphInfo) -> int | None:
    """Return the number of outputs of the joint network: tokens, blank and durations."""
    logits = joint.outputs[0]
    return logits.fixed(-1) or joint.width_of(logits.name)


def _durations(
    files: ModelFiles,
    decoder: GraphInfo,
    joint: GraphInfo,
    pieces: tuple[str, ...],
    declared: Mapping[str, Any],
    given: Sequence[int] | None,
) -> tuple[int, ...]:
    width = joint_width(joint)
    if width is None:
        raise ModelMismatchError(f"{joint.path} does not declare how many outputs it has ({ports_text(joint)}).")
    count = width - len(pieces)
    rows = decoder.embedding_rows
    table = _table("durations", given) if given is not None else _declared_table(files, declared)
    vocab_size = declared.get("vocab_size")
    stated = (
        int(vocab_size) + 1 if isinstance(vocab_size, str) and vocab_size.isdigit() and len(vocab_size) < 9 else None
    )
    wrong = next(
        (
            f"{n} with the blank ({why})"
            for n, why in ((stated, "metadata vocab_size"), (rows, f"embedding rows in {decoder.path.name}"))
            if n not in {None, len(pieces)}
        ),
        None,
    )
    if count < 0 or (wrong is not None and (table is None or len(pieces) > (rows or stated or 0))):
        raise ModelMismatchError(
            f"{files.vocabulary} holds {len(pieces)} pieces, but the model has {wrong or f'only {width} outputs in {joint.path.name}'}. "
            "The vocabulary belongs to another model or was cut short: take the one published with the model."
        )
    if count == 0:
        raise UnsupportedLayoutError(
            f"{joint.path}: this is an RNNT export: its {width} outputs are the {len(pieces)} pieces of "
            f"{files.vocabulary.name}, and none is left for durations. Expected a TDT model."
        )
    if table is None:
        if count > MAX_DEFAULT_DURATIONS:
            raise ModelMismatchError(
                f"{joint.path} has {width} outputs for the {len(pieces)} pieces of {files.vocabulary}: {count} durations "
                "would be left. The vocabulary belongs to another model; if not, pass durations=."
            )
        return tuple(range(count))
    if len(table) != count:
        raise ModelMismatchError(
            f"A table of {len(table)} durations was given, but {joint.path} has {width} outputs for {len(pieces)} pieces: "
            f"{count} durations. Pass a table of {count} numbers."
        )
    return table


def _declared_table(files: ModelFiles, declared: Mapping[str, Any]) -> tuple[int, ...] | None:
    for key in ("durations", "tdt_durations"):
        value = declared.get(key)
        if value is None:
            continue
        if isinstance(value, str):
            words = value.strip().strip("[]()").replace(",", " ").split()
            value = [int(word) if word.isascii() and word.isdigit() and len(word) < 9 else word for word in words]
        try:
            return _table(key, value)
        except OptionError as error:
            raise ModelFileCorruptError(files.folder, f"its metadata is wrong: {error}") from error
    return None


def _table(name: str, values: object) -> tuple[int, ...]:
    try:
        table = tuple(values)  # type: ignore[arg-type]
    except TypeError:
        table = ()
    whole = all(hasattr(value, "__index__") and not isinstance(value, bool) and 0 <= value <= 10_000 for value in table)
    if isinstance(values, (str, bytes)) or not whole or not 1 <= len(table) <= 10_000:
        raise OptionError(
            name, _short(values), "whole numbers of encoder frames, each 0 or more, such as (0, 1, 2, 3, 4)"
        )
    return tuple(int(value) for value in table)


def _normalize(encoder: GraphInfo) -> Literal["per_feature", "none"]:
    kind = encoder.metadata.get("normalize_type")
    if kind is None or kind == "per_feature":
        return "per_feature"
    if kind in {"", "NA", "none", "None"}:
        return "none"
    raise UnsupportedLayoutError(
        f"{encoder.path} wants features normalised as {_short(kind)}; supported are per_feature and none (NA)."
    )


def _max_symbols(given: int | None, config: Mapping[str, Any]) -> int:
    if given is None:
        return int(config.get("max_tokens_per_step") or _DEFAULT_MAX_SYMBOLS)
    if isinstance(given, bool) or not hasattr(given, "__index__") or not 1 <= given <= 10_000:
        raise OptionError("max_symbols", given, "a whole number from 1 to 10000")
    return int(given)


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
