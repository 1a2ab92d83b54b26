"""A decoder's weights in a card's memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdt.errors import ModelMismatchError
from tdt.runtime import CardMemory

if TYPE_CHECKING:
    from tdt.runtime import CudaStream
    from tdt.spec import ModelSpec
    from tdt.surgery import DecoderWeights

_ALIGNMENT_BYTES = 256
_MOST_CLASSES = 1 << 24  # the kernel hands indices on as float32


class CardWeights:
    """What the kernel reads and never writes, uploaded once.

    Parameters
    ----------
    queue : CudaStream
    lifted : DecoderWeights
    spec : ModelSpec
    half : bool
        Whether matrices are float16.

    Raises
    ------
    ModelMismatchError
        Where the vocabulary is larger than the kernel can number.
    """

    def __init__(self, queue: CudaStream, lifted: DecoderWeights, spec: ModelSpec, *, half: bool) -> None:
        from tdt.kernels.decoder.greedy_layout import Layer, pack_weights
        from tdt.runtime import card_shared_bytes

        if len(lifted.embedding) > _MOST_CLASSES:
            raise ModelMismatchError(
                f"{spec.name} has {len(lifted.embedding)} tokens; the decoder on the card takes up to {_MOST_CLASSES}. "
                'Use decoder="native".'
            )
        layers = [Layer(layer.inputs.values, layer.recurrent.values, layer.bias) for layer in lifted.layers]
        predictor = lifted.predictor.matrix.values, lifted.predictor.bias
        output = lifted.output.matrix.values, lifted.output.bias
        self.sizes, arrays = pack_weights(lifted.embedding, layers, predictor, output, spec.durations, half=half)
        self.shared_bytes = card_shared_bytes(queue.context)
        offsets, size = {}, 0
        for name, array in arrays.items():
            offsets[name] = size
            size += -(-array.nbytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
        self.memory = CardMemory(queue.context, size)
        places: dict[str, Any] = {
            name: self.memory.array(offsets[name], array.shape, array.dtype) for name, array in arrays.items()
        }
        for name, array in arrays.items():
            queue.put(places[name], array)
        queue.wait()
        self.pointers = {name: place.pointer for name, place in places.items()}
