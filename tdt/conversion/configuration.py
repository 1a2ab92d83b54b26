"""What a checkpoint says of itself, in NeMo's `model_config.yaml` or Transformers' `config.json`: one set of numbers.

Whatever the tensors cannot show and the graph must do alike is compared here: local attention, causal convolutions,
other features, other activations are refused by name.

Sources: NeMo 3.0.0 `asr/modules/conformer_encoder.py`, `rnnt.py`, `audio_preprocessing.py` (names and defaults);
Transformers 5.24.0 `models/parakeet/configuration_parakeet.py` (names and defaults of `ParakeetTDTConfig`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tdt.dependencies import extra
from tdt.errors import CheckpointError, ModelFileCorruptError, OtherModelError
from tdt.showing import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

MOST_BYTES = 4 << 20  # v3's, with its vocabulary three times, has 0.6 MB
MOST_EVENTS = 200_000
MOST_DEPTH = 40
INSTALL = "pip install 'parakeet-tdt[convert]'"
_FEATURES: dict[str, tuple[Any, Any]] = {
    # name -> (what this package computes, NeMo's default)
    "sample_rate": (16000, 16000), "window_size": (0.025, 0.02), "window_stride": (0.01, 0.01), "n_fft": (512, None),
    "window": ("hann", "hann"), "log": (True, True), "frame_splicing": (1, 1), "preemph": (0.97, 0.97),
    "mag_power": (2.0, 2.0), "lowfreq": (0, 0), "highfreq": (None, None), "log_zero_guard_type": ("add", "add"),
}  # fmt: skip
_ENCODER: dict[str, tuple[Any, Any]] = {
    "self_attention_model": ("rel_pos", "rel_pos"), "causal_downsampling": (False, False),
    "conv_norm_type": ("batch_norm", "batch_norm"), "conv_context_size": (None, None), "untie_biases": (True, True),
    "subsampling": ("dw_striding", "striding"), "reduction": (None, None), "feat_out": (-1, -1),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Architecture:
    """The numbers of a model, as its configuration has them.

    Parameters
    ----------
    mels, subsampling, layers, width, heads : int
        Of the encoder.
    vocabulary : int
        Pieces without the blank.
    predictor_layers, predictor_hidden, joint_hidden : int
    durations : tuple of int
        Encoder frames by duration output.
    scaled : bool
        Whether the encoder multiplies its input by the root of its width.
    normalize : {"per_feature", "NA"}
        Of the features.
    max_symbols : int
        Most tokens on one encoder frame.
    """

    mels: int
    subsampling: int
    layers: int
    width: int
    heads: int
    vocabulary: int
    predictor_layers: int
    predictor_hidden: int
    joint_hidden: int
    durations: tuple[int, ...]
    scaled: bool
    normalize: Literal["per_feature", "NA"] = "per_feature"
    max_symbols: int = 10

    def __str__(self) -> str:
        return (
            f"a FastConformer of {self.layers} layers of {self.width} with {self.heads} heads on {self.mels} mel bins, "
            f"{self.predictor_layers} LSTM layers of {self.predictor_hidden}, {self.vocabulary} pieces, "
            f"{len(self.durations)} durations"
        )


def parse_yaml(content: bytes, path: Path) -> dict[str, Any]:
    """Return a configuration in YAML: plain values only, within bounds, without merged keys.

    Raises
    ------
    MissingDependencyError
        Where PyYAML is not installed.
    ModelFileCorruptError, CheckpointError
        Where it is no YAML, or larger than any configuration.
    """
    with extra("pyyaml", "Reading model_config.yaml", INSTALL):
        import yaml
    if len(content) > MOST_BYTES:
        raise CheckpointError(path, f"model_config.yaml has {len(content)} bytes; {MOST_BYTES} are more than enough")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where libyaml is there

    class Plain(loader):  # type: ignore[misc, valid-type]
        def flatten_mapping(self, node: object) -> None:
            """Leave merged keys alone, which can multiply a small file without end: they are an unknown tag then."""

    try:
        _check_events(yaml.parse(content, Loader=loader), path)
        values = yaml.load(content, Loader=Plain)  # noqa: S506  derived from the safe loader
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, OverflowError) as error:
        raise ModelFileCorruptError(path, f"model_config.yaml is no YAML of values ({str(error)[:200]})") from error
    if not isinstance(values, dict):
        raise ModelFileCorruptError(path, "model_config.yaml is no mapping")
    return values


def _check_events(events: Iterable[Any], path: Path) -> None:
    depth = 0
    for number, event in enumerate(events):
        kind = type(event).__name__
        depth += kind.endswith(("MappingStartEvent", "SequenceStartEvent"))
        depth -= kind.endswith(("MappingEndEvent", "SequenceEndEvent"))
        if depth > MOST_DEPTH or number > MOST_EVENTS:
            raise CheckpointError(path, "model_config.yaml is nested deeper, or longer, than any configuration")


def parse_json(content: bytes, path: Path) -> dict[str, Any]:
    """Return a configuration in JSON.

    Raises
    ------
    ModelFileCorruptError
        Where it is no JSON object.
    """
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelFileCorruptError(path, f"it is no JSON ({str(error)[:200]})") from error
    if not isinstance(values, dict):
        raise ModelFileCorruptError(path, "it is no JSON object")
    return values


def from_nemo(config: Mapping[str, Any], path: Path) -> Architecture:
    """Return the numbers of a NeMo model.

    Raises
    ------
    OtherModelError
        Where it is no Parakeet-TDT; says what it is.
    CheckpointError
        Where a number is missing.
    """
    encoder, decoder, joint, features = (
        _section(config, name) for name in ("encoder", "decoder", "joint", "preprocessor")
    )
    durations = _nemo_kind(config, decoder, joint, path)
    if "ConformerEncoder" not in str(encoder.get("_target_", "ConformerEncoder")):
        raise OtherModelError(path, f"its encoder is a {shown(encoder.get('_target_'), 80)}")
    _require(encoder, _ENCODER, "encoder", path)
    _require({"n_fft": 512, **features}, _FEATURES, "preprocessor", path)
    context = encoder.get("att_context_size") or [-1, -1]
    if context not in ([-1, -1], [[-1, -1]]):
        raise OtherModelError(path, f"its attention is local (att_context_size {shown(context, 40)})")
    prednet, jointnet = _section(decoder, "prednet"), _section(joint, "jointnet")
    if jointnet.get("activation", "relu") != "relu":
        raise OtherModelError(path, f"its joint's activation is {shown(jointnet.get('activation'), 40)}, not relu")
    greedy = _section(_section(config, "decoding"), "greedy")
    return Architecture(
        mels=_number(features, "features", path, 64),
        subsampling=_number(encoder, "subsampling_factor", path, 4),
        layers=_number(encoder, "n_layers", path),
        width=_number(encoder, "d_model", path),
        heads=_number(encoder, "n_heads", path, 4),
        vocabulary=_number({**joint, **decoder}, "vocab_size" if "vocab_size" in decoder else "num_classes", path),
        predictor_layers=_number(prednet, "pred_rnn_layers", path, 1),
        predictor_hidden=_number(prednet, "pred_hidden", path),
        joint_hidden=_number(jointnet, "joint_hidden", path),
        durations=durations,
        scaled=encoder.get("xscaling", True) is True,
        normalize=_normalize(features.get("normalize", "per_feature"), path),
        max_symbols=_number(greedy, "max_symbols", path, 10) if greedy.get("max_symbols") else 10,
    )


def _nemo_kind(
    config: Mapping[str, Any], decoder: Mapping[str, Any], joint: Mapping[str, Any], path: Path
) -> tuple[int, ...]:
    """Return the duration table, or say what other kind of model this is."""
    target = str(config.get("target", "")).rpartition(".")[2] or "a model of an unknown class"
    if "RNNTJoint" not in str(joint.get("_target_", "RNNTJoint" if joint else "")):
        kind = "a CTC model" if "CTC" in target or "ASRDecoder" in str(decoder.get("_target_", "")) else "no transducer"
        raise OtherModelError(path, f"it is {kind} ({shown(target, 80)})")
    defaults, loss = _section(config, "model_defaults"), _section(_section(config, "loss"), "tdt_kwargs")
    for table in (defaults.get("tdt_durations"), _section(config, "decoding").get("durations"), loss.get("durations")):
        if table:
            return _durations(table, joint.get("num_extra_outputs"), path)
    raise OtherModelError(path, f"it is an RNNT model ({shown(target, 80)}): its joint has no duration outputs")


def _durations(table: object, outputs: object, path: Path) -> tuple[int, ...]:
    if not isinstance(table, list) or not all(type(entry) is int and 0 <= entry <= 10_000 for entry in table):
        raise CheckpointError(path, f"its durations are {shown(table, 80)}, not numbers of frames")
    if not outputs:
        raise OtherModelError(path, "it is an RNNT model: its joint has no duration outputs (num_extra_outputs)")
    if outputs != len(table):
        raise CheckpointError(path, f"its joint has {shown(outputs, 20)} duration outputs, its table {len(table)}")
    return tuple(table)


def from_transformers(config: Mapping[str, Any], path: Path) -> Architecture:
    """Return the numbers of a `ParakeetForTDT` of Transformers.

    Raises
    ------
    OtherModelError
        Where it is no Parakeet-TDT; says what it is.
    CheckpointError
        Where a number is missing.
    """
    kind = config.get("model_type")
    if kind != "parakeet_tdt":
        what = {"parakeet_ctc": "a CTC model", "parakeet_rnnt": "an RNNT model"}.get(str(kind), "another model")
        raise OtherModelError(path, f"it is {what} (model_type {shown(kind, 60)})")
    encoder = _section(config, "encoder_config")
    silent = config.get("hidden_act", "relu") == "relu" and encoder.get("hidden_act", "silu") in {"silu", "swish"}
    if not silent:
        raise OtherModelError(path, "its activations are not relu in the joint and silu in the encoder")
    durations = config.get("durations", [0, 1, 2, 3, 4])
    hidden = _number(config, "decoder_hidden_size", path, 640)
    return Architecture(
        mels=_number(encoder, "num_mel_bins", path, 80),
        subsampling=_number(encoder, "subsampling_factor", path, 8),
        layers=_number(encoder, "num_hidden_layers", path, 24),
        width=_number(encoder, "hidden_size", path, 1024),
        heads=_number(encoder, "num_attention_heads", path, 8),
        vocabulary=_number(config, "vocab_size", path, 8193) - 1,
        predictor_layers=_number(config, "num_decoder_layers", path, 2),
        predictor_hidden=hidden,
        joint_hidden=hidden,
        durations=_durations(durations, len(durations) if isinstance(durations, list) else None, path),
        scaled=encoder.get("scale_input", True) is True,
        max_symbols=_number(config, "max_symbols_per_step", path, 10),
    )


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = config.get(name)
    return value if isinstance(value, dict) else {}


def _require(section: Mapping[str, Any], wanted: Mapping[str, tuple[Any, Any]], name: str, path: Path) -> None:
    for key, (ours, default) in wanted.items():
        value = section.get(key, default)
        if value != ours and not (ours is None and not value):
            raise OtherModelError(path, f"its {name} has {key} {shown(value, 40)}; expected {shown(ours)}")


def _normalize(value: object, path: Path) -> Literal["per_feature", "NA"]:
    if value == "per_feature":
        return "per_feature"
    if value in {None, "", "NA", "None", "none"}:
        return "NA"
    raise OtherModelError(path, f"its features are normalised as {shown(value, 40)}")


def _number(section: Mapping[str, Any], key: str, path: Path, default: int | None = None) -> int:
    value = section.get(key, default)
    if type(value) is not int or not 1 <= value <= 1_000_000:
        raise CheckpointError(path, f"its configuration has {key} {shown(value, 40)}, expected a positive number")
    return value
