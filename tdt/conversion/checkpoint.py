"""A checkpoint as it is found on disk, NeMo's or that of Transformers, with its tensors under NeMo's names.

The names of Transformers are those of 5.24.0 (`models/parakeet/modeling_parakeet.py`), and the renaming is the inverse
of its `convert_nemo_to_hf.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tdt.conversion.archive import mapped, read_archive
from tdt.conversion.configuration import Architecture, from_nemo, from_transformers, parse_json, parse_yaml
from tdt.conversion.safetensors import read_safetensors
from tdt.conversion.unpickling import read_state
from tdt.conversion.vocabulary import MOST_BYTES, pieces_of_nemo, pieces_of_transformers
from tdt.errors import CheckpointError, ModelNotFoundError
from tdt.onnxfile import read_small
from tdt.showing import shown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tdt.conversion.tensors import StoredTensor

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
_CONFIG_BYTES = 4 << 20
_RENAMED = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^encoder\.subsampling\.layers\.", "encoder.pre_encode.conv."),
        (r"^encoder\.subsampling\.linear\.", "encoder.pre_encode.out."),
        (r"^(encoder\.layers\.\d+\.conv)\.norm\.", r"\1.batch_norm."),
        (r"\.self_attn\.([qkv])_proj\.", r".self_attn.linear_\1."),
        (r"\.self_attn\.o_proj\.", ".self_attn.linear_out."),
        (r"\.self_attn\.relative_k_proj\.", ".self_attn.linear_pos."),
        (r"\.self_attn\.bias_([uv])$", r".self_attn.pos_bias_\1"),
        (r"^decoder\.embedding\.", "decoder.prediction.embed."),
        (r"^decoder\.lstm\.", "decoder.prediction.dec_rnn.lstm."),
        (r"^encoder_projector\.", "joint.enc."),
        (r"^decoder\.decoder_projector\.", "joint.pred."),
        (r"^joint\.head\.", "joint.joint_net.2."),
    )
)
# The last layer of NeMo's joint is the third, or the second where there is no dropout before it.
_JOINT_OUTPUT = re.compile(r"^joint\.joint_net\.\d+\.(weight|bias)$")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Weights that shall go into a graph.

    Parameters
    ----------
    path : Path
    source : str
        "NeMo" or "Transformers".
    tensors : mapping of str to StoredTensor
        By NeMo's names.
    architecture : Architecture
    pieces : tuple of str
        Vocabulary, blank last.
    """

    path: Path
    source: str
    tensors: Mapping[str, StoredTensor]
    architecture: Architecture
    pieces: tuple[str, ...]


def is_checkpoint(path: Path) -> bool:
    """Return whether `path` is a file, or a folder that holds weights of Transformers and no graphs."""
    return path.is_file() or ((path / WEIGHTS).is_file() and not any(path.glob("*.onnx")))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a `.nemo` file, a `.safetensors` file with its `config.json` beside it, or a folder with these.

    Raises
    ------
    ModelNotFoundError
        Where there is none.
    CheckpointError, ModelError
        Where it cannot be read, is unsafe, or is another kind of model.
    """
    if not path.exists():
        raise ModelNotFoundError(f"There is no {path}. Pass a .nemo file, or a folder with {WEIGHTS}.")
    if path.is_dir():
        path /= WEIGHTS
    found = _transformers(path) if path.suffix == ".safetensors" else _nemo(path)
    stated, held = found.architecture.vocabulary, len(found.pieces) - 1
    if stated != held:
        raise CheckpointError(path, f"its configuration says {stated} pieces, but its tokenizer holds {held}")
    return found


def _nemo(path: Path) -> Checkpoint:
    members = read_archive(path)
    for needed in ("model_config.yaml", "model_weights.ckpt"):
        if needed not in members:
            held = ", ".join(sorted(members)[:8])
            raise CheckpointError(path, f"it holds no {needed}, but {shown(held)}", "Expected NeMo's .nemo file")
    config = parse_yaml(bytes(members["model_config.yaml"][: _CONFIG_BYTES + 1]), path)
    architecture = from_nemo(config, path)
    state = read_state(members["model_weights.ckpt"], path)
    return Checkpoint(path, "NeMo", _canonical(state), architecture, pieces_of_nemo(members, config, path))


def _transformers(path: Path) -> Checkpoint:
    config_path, tokenizer_path = path.parent / CONFIG, path.parent / TOKENIZER
    architecture = from_transformers(parse_json(read_small(config_path, _CONFIG_BYTES), config_path), config_path)
    tensors = _canonical(read_safetensors(mapped(path), path))
    tokenizer = parse_json(read_small(tokenizer_path, MOST_BYTES), tokenizer_path)
    pieces = pieces_of_transformers(tokenizer, architecture.vocabulary, tokenizer_path)
    return Checkpoint(path, "Transformers", tensors, architecture, pieces)


def _canonical(tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    return {canonical_name(name): tensor for name, tensor in tensors.items()}


def canonical_name(name: str) -> str:
    """Return NeMo's name of a tensor that Transformers or a NeMo model without dropout calls otherwise."""
    for pattern, renamed in _RENAMED:
        name = pattern.sub(renamed, name)
    return _JOINT_OUTPUT.sub(r"joint.joint_net.2.\1", name)
