"""From lifted roundings to the programs by which the compiled decoder rounds activations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.onnxfile import BLOCK_LEVELS, Rounding

if TYPE_CHECKING:
    from tdt.surgery import DecoderWeights, Steps


def programs(lifted: DecoderWeights, tokens: int) -> tuple[Any, ...]:
    """Return what :mod:`tdt.kernels.decoder.roundings` runs.

    Parameters
    ----------
    lifted : DecoderWeights
    tokens : int
        Size of the token slice, blank included; the remaining logits are durations.

    Returns
    -------
    tuple of ndarray
        The table of addresses first, then what they point to, which is to be kept as long; empty where nothing is
        rounded.
    """
    from tdt.kernels.decoder import roundings as k

    found = lifted.roundings
    if not found.all():
        return ()
    encoder, predictor, output = found.products
    places = {
        k.PROJECTED: _finish(encoder, lifted.encoder.bias, found.projected),
        k.PREDICTION: (None, found.prediction),
        k.PREDICTED: _finish(predictor, lifted.predictor.bias, found.predicted),
        k.ACTIVATION: (None, found.activation),
        k.LOGITS: _finish(output, lifted.output.bias[:tokens], found.logits),
        k.DURATIONS: _finish(output, lifted.output.bias[tokens:], found.logits),
    }
    for kind, by_layer in ((k.INPUT, found.layers), (k.HIDDEN, found.hidden), (k.CELL, found.cell)):
        for layer, steps in enumerate(by_layer):
            places[k.BY_LAYER + k.LAYER_PLACES * layer + kind] = (None, steps)
    table = np.zeros(k.BY_LAYER + k.LAYER_PLACES * len(lifted.layers), np.int64)
    kept: list[Any] = [table]
    for place, (between, steps) in places.items():
        numbers = [_numbers(step) for step in steps]
        if between is not None:
            early, bias = between
            numbers = [*map(_numbers, early), (k.ADD, bias.ctypes.data), *numbers]
            kept.append(bias)
        if numbers:
            kept.append(k.program(numbers))
            table[place] = kept[-1].ctypes.data
    return tuple(kept)


def rounded_products(lifted: DecoderWeights) -> tuple[bool, bool, bool]:
    """Return which of encoder projection, prediction projection and output layer get their bias by a program."""
    encoder, predictor, output = lifted.roundings.products
    return bool(encoder), bool(predictor), bool(output)


def _finish(product: Steps, bias: Any, steps: Steps) -> tuple[tuple[Steps, Any] | None, Steps]:
    """Return what is done to a product and its bias, where the product itself is rounded; and to their sum."""
    return (product, np.ascontiguousarray(bias, np.float32)) if product else None, steps


def _numbers(step: Any) -> tuple[float, ...]:
    from tdt.kernels.decoder.roundings import BLOCKS, LEVELS

    if isinstance(step, Rounding):
        return LEVELS, step.scale, step.zero, step.low, step.high
    return BLOCKS, step.block, BLOCK_LEVELS
