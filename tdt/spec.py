"""The numbers and files of a model: what the pipeline needs to know, read once at load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

Layout = Literal["onnx-asr", "sherpa-onnx"]
# From fine to coarse; where nothing is asked for, the first that is there is taken.
Precision = Literal["float32", "float16", "int8", "int4", "int2"]

SAMPLE_RATE_HZ = 16000
HOP_SAMPLES = 160  # 10 ms
FRONT_CHANNELS = 256  # of the published models


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Where the parts of a model lie.

    Either `decoder_joint` is set (fused, onnx-asr layout), or `decoder` and `joiner` are (split, sherpa-onnx layout).
    """

    layout: Layout
    folder: Path
    encoder: Path
    vocabulary: Path
    decoder_joint: Path | None = None
    decoder: Path | None = None
    joiner: Path | None = None
    encoder_precision: Precision = "float32"
    decoder_precision: Precision = "float32"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The numbers of a model, all read from its graphs and metadata.

    Parameters
    ----------
    pieces : tuple of str
        Vocabulary; the index is the token id; the blank is last.
    blank_id : int
        Also the start symbol of the prediction network.
    durations : tuple of int
        Duration table: encoder frames by duration index.
    max_encoder_frames : int or None
        Rows of the export's position table; None where the graph has no such table.
    front_channels : int
        Of the convolutions that shorten the input: most of the encoder's memory.
    tokenizer : Path or None
        The SentencePiece model that lies beside the graphs, where one does; it is opened only to split phrases.
    """

    name: str
    n_mels: int
    subsampling: int
    encoder_dim: int
    pieces: tuple[str, ...]
    blank_id: int
    durations: tuple[int, ...]
    predictor_layers: int
    predictor_hidden: int
    normalize: Literal["per_feature", "none"] = "per_feature"
    max_encoder_frames: int | None = None
    max_symbols: int = 10
    front_channels: int = FRONT_CHANNELS
    tokenizer: Path | None = None

    @property
    def frame_seconds(self) -> float:
        """Seconds an encoder frame spans (0.08 for the published models)."""
        return HOP_SAMPLES * self.subsampling / SAMPLE_RATE_HZ

    def encoder_length(self, mel_frames: int) -> int:
        """Return the encoder frames of `mel_frames` valid mel frames: floor((x - 1) / 2) + 1 per halving."""
        length = mel_frames
        halvings = self.subsampling.bit_length() - 1
        for _ in range(halvings):
            length = (length - 1) // 2 + 1 if length > 0 else 0
        return length
