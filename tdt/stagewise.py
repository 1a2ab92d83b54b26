"""A recogniser stage by stage, for those who embed it: arrays in and out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from tdt.checks import number
from tdt.decoding import GuidedEngine
from tdt.reading import Reading, sources_of
from tdt.text import Transcript, build, check_hypothesis
from tdt.timeline import NULL, Recorder, as_recorder, call_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tdt.lifetime import Lifetime
    from tdt.options import FusionOptions
    from tdt.pipeline import Stages
    from tdt.reading import AudioSource
    from tdt.spec import ModelSpec
    from tdt.stages import Encoded, Features, Hypothesis


class StageByStage:
    """What a recogniser does in one stage."""

    spec: ModelSpec
    _stages: Stages
    _lifetime: Lifetime

    def features(
        self,
        audio: AudioSource | Iterable[AudioSource],
        *,
        sample_rate: int | None = None,
        channel: int | None = None,
        track: int | None = None,
        timeline: Recorder = NULL,
    ) -> Features:
        """Return the log-mel features of one or several clips; nothing is padded to a second here.

        Parameters
        ----------
        audio : source or iterable of sources
            Arrays [n] or [n, channels] of int16, float32 or float64; paths; bytes; file objects.
        sample_rate, channel, track : int, optional
            As in :meth:`transcribe`.
        timeline : Recorder, optional

        Returns
        -------
        Features
            `frames` [B, n_mels, T] float32 and `lengths` [B].

        Raises
        ------
        AudioError
            In its kinds, for the first clip that cannot be read.
        """
        reading, timeline = Reading(sample_rate, channel, track=track), as_recorder("timeline", timeline)
        sources, _ = sources_of(audio)
        with self._lifetime.use(), call_of(timeline):
            samples = [reading.samples(source, timeline)[0] for source in sources]
            return self._stages.extractor(samples, timeline)

    def encode(self, features: Features, *, timeline: Recorder = NULL) -> Encoded:
        """Run the encoder.

        Parameters
        ----------
        features : Features
            From :meth:`features` or made by hand.
        timeline : Recorder, optional

        Returns
        -------
        Encoded
            `frames` [B, T', D] float32, the encoder's own output, and `lengths` [B].

        Raises
        ------
        AudioTooLongError
            Where a clip has more encoder frames than the model's position table.
        OptionError
            Where the shapes do not fit the model.
        """
        timeline = as_recorder("timeline", timeline)
        with self._lifetime.use(), call_of(timeline):
            return self._stages.encoder.encode(features, timeline)

    def decode(
        self, encoded: Encoded, *, timeline: Recorder = NULL, **fusion: Unpack[FusionOptions]
    ) -> list[Hypothesis]:
        """Decode whole utterances, greedily as NeMo's label looping does or with a beam; one hypothesis each.

        Parameters
        ----------
        encoded, timeline, **fusion
            As in :meth:`decode_piece`.

        Raises
        ------
        DecodingError, OptionError
            As :meth:`decode_piece` does.
        """
        return self.decode_piece(encoded, timeline=timeline, **fusion)[0]

    def decode_piece(
        self,
        encoded: Encoded,
        states: Sequence[Any] | None = None,
        *,
        timeline: Recorder = NULL,
        **fusion: Unpack[FusionOptions],
    ) -> tuple[list[Hypothesis], list[Any]]:
        """Decode the next piece of each utterance; the pieces together give what one call over the whole gives.

        With a beam, hypotheses that have come to the end of a piece wait there for the others, as in NeMo, so that the
        last bit of it may depend on where pieces end.

        Parameters
        ----------
        encoded : Encoded
            The next encoder frames of B utterances.
        states : sequence of DecoderState (with a beam, BeamState) or None, optional
            What the call over the piece before returned; None, or None for an utterance, starts afresh.
        timeline : Recorder, optional
        **fusion
            What is known beside the sound, the same for every piece (the native engine only):
            `phrases`, :class:`tdt.Phrases` or a list of texts, or a list with those of each utterance or None;
            `lm`, a :class:`tdt.NgramLM`, and `lm_weight`, 0.3 by default;
            `beam`, a number of hypotheses or a :class:`tdt.Beam`, None for greedy;
            `script`, such as "latin", or several; `allowed`, the ids of the pieces that may be emitted.

        Returns
        -------
        hypotheses : list of Hypothesis
            What this piece emits; frames count from the utterance's first piece. With a beam all tokens so far, as a
            piece may change which hypothesis is best; the others are its `alternatives`.
        states : list of DecoderState, or of BeamState
            For the next call.

        Raises
        ------
        DecodingError
            Where the networks give NaN.
        OptionError
            Where the shapes do not fit the model.
        """
        timeline = as_recorder("timeline", timeline)
        with self._lifetime.use(), call_of(timeline):
            engine = self._stages.guided(fusion).engine
            if isinstance(engine, GuidedEngine) and engine.plan.beam is not None:
                return engine.decode_beams(encoded, states, timeline)
            return engine.decode(encoded, states, timeline)

    def transcript(self, hypothesis: Hypothesis, audio_seconds: float) -> Transcript:
        """Return the transcript of a hypothesis over a clip of this length that was not padded."""
        check_hypothesis(hypothesis, self.spec)
        audio_seconds = number("audio_seconds", audio_seconds, 0, 1e9, "seconds")
        return build(hypothesis, self.spec, audio_seconds=audio_seconds, confidence=self._stages.confidence)
