"""Live recognition, as a part of the recogniser: one stream or many, from options to what runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.checks import Bounds, instance, number, whole_number, whole_option
from tdt.lifetime import Closing
from tdt.longform import Silero, provider_seconds
from tdt.protocols import Rounding
from tdt.spec import SAMPLE_RATE_HZ
from tdt.text import Detokenizer
from tdt.timeline import NULL, as_recorder

if TYPE_CHECKING:
    from typing import Unpack

    from tdt.lifetime import Lifetime
    from tdt.live import LiveBatch, LiveStream
    from tdt.options import FusionOptions, LiveOptions
    from tdt.pipeline import Stages
    from tdt.timeline import Recorder

END_OF_SPEECH_SECONDS = 0.8
RESTART_SECONDS = 2.0
# A frame or two without a token lie within words.
PAUSE_BOUNDS = Bounds(0.2, 3600, "seconds")
MOST_STREAMS = 4096


class Listening(Closing):
    """What a recogniser does while people speak."""

    _stages: Stages
    _lifetime: Lifetime

    def live(
        self,
        *,
        left: float | None = None,
        chunk: float | None = None,
        right: float | None = None,
        latency: int | None = None,
        end_of_speech: float | None = END_OF_SPEECH_SECONDS,
        restart: float | None = RESTART_SECONDS,
        sample_rate: int | None = None,
        channel: int | None = None,
        timeline: Recorder | None = None,
        gate: bool = False,
        **fusion: Unpack[FusionOptions],
    ) -> LiveStream:
        """Open a stream of speech: words within seconds, settled words that stay, utterances that close.

        Parameters
        ----------
        left, chunk, right : float, optional
            Seconds, in whole encoder frames (of 0.08 s), rounded down: heard before, decoded in a step, heard after.
            10, 2 and 2 by default. A word is settled at most chunk + right after it was spoken, computing aside; the
            encoder hears each sample (left + chunk + right) / chunk times, 7 times by default.
        latency : {4, 2, 1}, optional
            Chunk + right in seconds, with what goes with it: 10-2-2, 10-1-1 or 5.04-0.48-0.48. What is given besides
            counts.
        end_of_speech : float or None
            Seconds without a token that close an utterance, 0.8 by default. With None only its length does, and the
            end of the stream.
        restart : float or None
            Seconds without a token after which decoding starts afresh, 2 by default. With None its state is kept for
            ever, as NeMo does.
        sample_rate, channel : int, optional
            Rate of what is pushed in Hz, 16000 by default; which channel to take, the mean of all by default.
        timeline : Recorder, optional
            Records the stages of each step.
        gate : bool
            Whether a speech detector listens first, and the encoder runs only where somebody speaks in the chunk, its
            right context or the second before. That is not NeMo's result any more: what the model would find where the
            detector hears nobody is lost, soft words as well as words made of noise.
        **fusion
            `phrases`, `lm`, `lm_weight`, `script` and `allowed` as in :meth:`Recognizer.decode_piece`.

        Returns
        -------
        LiveStream

        Raises
        ------
        OptionError
            Where an argument has no usable value: a chunk shorter than a frame, a window longer than the model takes.

        Examples
        --------
        >>> import numpy as np, tdt
        >>> with tdt.load().live(latency=2) as live:
        ...     updates = live.push(np.zeros(48000, np.float32)) + live.finish()
        ...     live.transcript.text
        ''
        """
        from tdt.live import LiveStream, Setup, SpeechGate, Stepper, contexts_of, usual_rules

        with self._lifetime.use():  # a closed or forked one says so now, not at the first push
            stages = self._stages.guided(fusion).counted(1)
        spec = stages.spec
        contexts = contexts_of(spec, left, chunk, right, latency, provider_seconds(stages.encoder))
        if isinstance(stages.encoder, Rounding):
            stages.encoder.keep_length(contexts.mel_frames)
        pauses = {
            name: None if value is None else round(number(name, value, *PAUSE_BOUNDS) / spec.frame_seconds)
            for name, value in (("end_of_speech", end_of_speech), ("restart", restart))
        }
        parts = (stages.extractor, stages.encoder, stages.engine)
        stepper = Stepper(spec, *parts, contexts.frame_samples, pauses["restart"], stages.works_ahead)
        setup = Setup(
            spec,
            Detokenizer(spec.pieces),
            stepper,
            contexts,
            usual_rules(pauses["end_of_speech"], spec.frame_seconds),
            whole_option("sample_rate", sample_rate) or SAMPLE_RATE_HZ,
            whole_option("channel", channel),
            stages.confidence,
            self._lifetime,
            NULL if timeline is None else as_recorder("timeline", timeline),
            (lambda: SpeechGate(Silero())) if instance("gate", gate, bool, "True or False") else None,
        )
        return LiveStream(setup)

    def live_batch(self, n: int, **options: Unpack[LiveOptions]) -> LiveBatch:
        """Open `n` streams that share their runs: one of the encoder and one of the decoder for all that have a chunk.

        Parameters
        ----------
        n : int
            Streams, up to 4096.
        **options
            As in :meth:`live`, the same for all.

        Raises
        ------
        OptionError
            Where an argument has no usable value.
        """
        from tdt.live import LiveBatch

        return LiveBatch(self.live(**options).setup, whole_number("n", n, 1, MOST_STREAMS))
