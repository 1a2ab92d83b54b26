"""What to quantise and how: the options of `tdt quantize`, checked once."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from tdt.errors import OptionError
from tdt.quantization.thresholds import DEFAULT_PERCENTILE, METHODS, Method

Body = Literal["float32", "float16"]
DecoderWeights = Literal["float", "int8"]

BODIES: tuple[Body, ...] = get_args(Body)
DECODER_WEIGHTS: tuple[DecoderWeights, ...] = get_args(DecoderWeights)
SMOOTHQUANT_WORDS = ("auto", "search", "off")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to quantise an encoder.

    Parameters
    ----------
    include, exclude : tuple of str
        Parts or patterns of layers; an empty `include` means the default parts.
    method : {"minmax", "percentile", "entropy", "mse"}
        How the range of an activation is chosen.
    percentile : float
        For the method of that name, in percent.
    smoothquant : str
        ``off``; ``search``: the best strength of each layer norm; ``auto``: that, where it takes the layer's
        error below 40 % of what it was (outlier channels do that, ordinary layers stay); or one strength for all.
    body : {"float32", "float16"}
        Type of all that is not 8 bits.
    decoder_weights : {"float", "int8"}
        Weight-only 8 bits for the prediction network and the joint, or the files as they are.
    narrow : bool
        Whether columns whose uint8 x int8 sums saturate on a CPU without VNNI keep to 7 bits.
    centre : bool
        Whether one-sided tensors (after a SiLU) are moved to the middle of int8's range; exact but for rounding.

    Raises
    ------
    OptionError
        Where a value is none of these.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    method: Method = "minmax"
    percentile: float = DEFAULT_PERCENTILE
    smoothquant: str = "search"
    body: Body = "float32"
    decoder_weights: DecoderWeights = "float"
    narrow: bool = True
    centre: bool = True

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("method", self.method, METHODS),
            ("body", self.body, BODIES),
            ("decoder_weights", self.decoder_weights, DECODER_WEIGHTS),
        ):
            if value not in allowed:
                raise OptionError(name, value, f"one of {', '.join(allowed)}")
        if not 50.0 < self.percentile <= 100.0:
            raise OptionError("percentile", self.percentile, "a number above 50 and up to 100")
        if self.smoothquant not in SMOOTHQUANT_WORDS:
            _ = self.alpha

    @property
    def alpha(self) -> float | None:
        """The one strength asked for, or None where it is searched or off."""
        if self.smoothquant in SMOOTHQUANT_WORDS:
            return None
        try:
            alpha = float(self.smoothquant)
        except ValueError:
            alpha = -1.0
        if not 0.0 < alpha < 1.0:
            raise OptionError("smoothquant", self.smoothquant, "auto, search, off, or a number between 0 and 1")
        return alpha

    def as_json(self) -> dict[str, Any]:
        """Return the options for the sidecar."""
        return asdict(self)
