"""What the stages offer each other: extractor, encoder, decoder. Whoever has these methods can take their place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from tdt.timeline import NULL, Recorder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.stages import DecoderState, Encoded, Features, Float32, Hypothesis


@dataclass(frozen=True, slots=True)
class Node:
    """A node as the runtime assigned it.

    Parameters
    ----------
    name, operator, provider : str
    computes : bool
        Whether it is more than shape arithmetic.
    """

    name: str
    operator: str
    provider: str
    computes: bool


class Extractor(Protocol):
    """Makes features of samples."""

    def __call__(self, batch: Sequence[Float32], timeline: Recorder = NULL) -> Features:
        """Return the normalised log-mel features of mono 16 kHz clips."""
        ...


class FrameEncoder(Protocol):
    """Makes encoder frames of features, to be decoded."""

    def encode_for_decoding(self, features: Features, timeline: Recorder = NULL, *, on_host: bool = False) -> Encoded:
        """Encode a batch, copying no more than decoding needs; `on_host` where its frames are to be cut into pieces."""
        ...


class AcousticEncoder(FrameEncoder, Protocol):
    """The encoder of a model."""

    def encode(self, features: Features, timeline: Recorder = NULL) -> Encoded:
        """Encode a batch."""
        ...

    def batching(self) -> str:
        """Find out how clips may share a run."""
        ...

    def placement(self) -> list[Node]:
        """Return which provider runs which node."""
        ...

    def close(self) -> None:
        """Release the session."""
        ...


@runtime_checkable
class Rounding(Protocol):
    """An encoder that rounds lengths up to few that recur, where each shape costs something to begin with."""

    def keep_length(self, mel_frames: int) -> None:
        """Run batches whose longest utterance has so many mel frames at their own length: it recurs anyway."""
        ...


class Engine(Protocol):
    """A greedy TDT decoder. One engine serves several threads."""

    def decode(
        self, encoded: Encoded, states: Sequence[DecoderState | None] | None = None, timeline: Recorder = NULL
    ) -> tuple[list[Hypothesis], list[DecoderState]]:
        """Decode a batch.

        Parameters
        ----------
        encoded : Encoded
            B utterances.
        states : sequence of DecoderState or None, optional
            Where each utterance's decoding stood after its previous piece; None starts afresh.
        timeline : Recorder, optional

        Returns
        -------
        hypotheses : list of Hypothesis
            What was emitted in this piece; frames count from the utterance's start.
        states : list of DecoderState
            To be passed with the next piece.

        Raises
        ------
        DecodingError
            Where the networks give NaN or infinity.
        OptionError
            Where the shapes do not fit the model.
        """
        ...

    def close(self) -> None:
        """Release what the engine holds."""
        ...
