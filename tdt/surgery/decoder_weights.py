"""A decoder as plain arrays: what is lifted out of the graphs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tdt.onnxfile import BlockRounding, Linear, Matrix, Step

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]

Steps = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class LstmLayer:
    """One LSTM layer, gates in ONNX order i, o, f, g.

    Parameters
    ----------
    inputs : Matrix [shape=(4 H, K)]
    recurrent : Matrix [shape=(4 H, H)]
    bias : ndarray [shape=(4 H,)], float32
        Sum of the input and recurrent biases.
    """

    inputs: Matrix
    recurrent: Matrix
    bias: Float32


@dataclass(frozen=True, slots=True)
class Roundings:
    """Where the graphs round activations to a few bits; nothing in most models.

    Parameters
    ----------
    frames, projected : tuple of Step
        Encoder frames before their projection; the sum of projection and bias.
    layers : tuple of tuple of Step
        Inputs of the LSTM layers; nothing for the first, whose embedding is rounded already.
    hidden, cell : tuple of tuple of Step
        The states that are carried to the next label, by layer.
    prediction, predicted : tuple of Step
        Output of the last layer before its projection; the sum of projection and bias.
    activation : tuple of Step
        The joint's activation, after its ReLU.
    logits : tuple of Step
        Logits.
    products : tuple of tuple of Step
        Of the three linear layers, encoder, predictor, output: the product before the bias is added.
    """

    frames: Steps = ()
    projected: Steps = ()
    layers: tuple[Steps, ...] = ()
    hidden: tuple[Steps, ...] = ()
    cell: tuple[Steps, ...] = ()
    prediction: Steps = ()
    predicted: Steps = ()
    activation: Steps = ()
    logits: Steps = ()
    products: tuple[Steps, Steps, Steps] = ((), (), ())

    def all(self) -> Steps:
        """Return every step there is."""
        single = (self.frames, self.projected, self.prediction, self.predicted, self.activation, self.logits)
        places = (*single, *self.layers, *self.hidden, *self.cell, *self.products)
        return tuple(step for place in places for step in place)

    @property
    def blocks_only(self) -> bool:
        """Whether they are all inside products, where a provider may do without them."""
        return all(isinstance(step, BlockRounding) for step in self.all())


@dataclass(frozen=True, slots=True)
class DecoderWeights:
    """Prediction network and joint as plain arrays.

    Parameters
    ----------
    embedding : ndarray [shape=(V + 1, E)], float32
    layers : tuple of LstmLayer
    encoder, predictor : Linear
        The joint's two projections, to J.
    output : Linear [N=V + 1 + durations, K=J]
    quantised : bool
        Whether the file holds 8-bit weights, and leaves activations to whoever computes.
    roundings : Roundings
    """

    embedding: Float32
    layers: tuple[LstmLayer, ...]
    encoder: Linear
    predictor: Linear
    output: Linear
    quantised: bool
    roundings: Roundings = field(default_factory=Roundings)
