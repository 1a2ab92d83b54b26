"""A recogniser's work in steps that somebody else schedules: a source opened, a batch encoded, a batch decoded.

Each step is the one that :meth:`tdt.Recognizer.transcribe` takes; only when it runs, and in which company, is up to the
scheduler. A step may run in any thread.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.clips import Clip
from tdt.decoding import GuidedEngine
from tdt.failures import typed
from tdt.lifetime import Bound
from tdt.longform import BatchRule
from tdt.reading import Reading, label
from tdt.stages import Encoded, Features

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from tdt.audio import Opened
    from tdt.lifetime import Lifetime
    from tdt.longform import Part
    from tdt.pipeline import Stages
    from tdt.protocols import FrameEncoder
    from tdt.text import Transcript


@dataclass(frozen=True, slots=True)
class Known:
    """What a clip's caller knows beside the sound: phrases in any form that :meth:`tdt.Recognizer.decode_piece` takes.

    Parameters
    ----------
    phrases : object
    """

    phrases: Any = None


NOTHING = Known()
RUN_SECONDS = 60.0  # padding included, on the CPU


class Scheduled(Bound):
    """The steps of a recogniser; made by :meth:`tdt.Recognizer.scheduled`.

    Parameters
    ----------
    stages : Stages
    lifetime : Lifetime
        Of the recogniser: whoever runs steps keeps it in use meanwhile.
    most : int
        Clips to a batch.
    """

    def __init__(self, stages: Stages, lifetime: Lifetime, most: int) -> None:
        self.lifetime = lifetime
        self._stages = stages
        self._long_form = stages.long_form(Reading())
        self.rule = _rule(self._long_form.batches, most, on_device=stages.works_ahead)

    def check(self, known: Known) -> None:
        """Refuse what cannot be listened for.

        Raises
        ------
        OptionError
        """
        self._guided([known])

    def open(self, source: Any, *, channel: int | None = None, track: int | None = None) -> Opened:
        """Open a source, and find out whether it is longer than a window.

        Raises
        ------
        AudioError
            In its kinds.
        OptionError
            A channel or track that is none.
        """
        return Reading(channel=channel, track=track).open(source, self._long_form.longest_uncut)

    @staticmethod
    def clip(opened: Opened) -> Clip:
        """Return what was opened as a clip, where it is not long.

        Raises
        ------
        AudioError
            In its kinds.
        """
        with typed(label(opened), "reading"):
            audio, problem = opened.load()
        return Clip(0, label(opened), audio.samples, audio.seconds, problem)

    def features(self, clip: Clip) -> Features:
        """Return the features of a clip, a batch of one."""
        from tdt.encoding import pad_short

        return self._stages.extractor([pad_short(clip.samples)[0]])

    def encode(self, rows: Sequence[Features], *, on_host: bool = False) -> Encoded:
        """Encode batches of one as one batch.

        Parameters
        ----------
        rows : sequence of Features
        on_host : bool
            Whether frames are wanted in host memory.
        """
        return self._stages.encoder.encode_for_decoding(stacked(rows), on_host=on_host)

    def decode(self, clips: Sequence[Clip], encoded: Encoded, known: Sequence[Known]) -> list[Transcript]:
        """Decode a batch of whole clips, each with what its caller knows."""
        hypotheses, _ = self._guided(known).decode(encoded)
        return self._stages.transcripts(clips, hypotheses, self._long_form, lambda place: self._guided([known[place]]))

    def parts(self, opened: Opened, encoder: FrameEncoder, known: Known = NOTHING) -> Generator[Part, None, None]:
        """Yield what becomes final of a long recording, whose windows go through the encoder that is given.

        Parameters
        ----------
        opened : Opened
        encoder : FrameEncoder
            Encodes on the host, from a thread of the recording's own.
        known : Known, optional
        """
        assert opened.reader is not None
        long_form = replace(self._long_form, encoder=encoder, engine=self._guided([known]))
        with opened.reader, closing(long_form.run([long_form.recording(opened.reader)])) as parts:
            yield from parts

    def _guided(self, known: Sequence[Known]) -> Any:
        """Return the engine for clips of which these things are known: the plain one where that is nothing."""
        if all(one.phrases is None for one in known):
            return self._stages.engine
        phrases = [one.phrases if one.phrases is None else (one.phrases,) for one in known]
        engine = self._stages.guided({"phrases": phrases}).engine
        return engine.at([0]) if len(known) == 1 and isinstance(engine, GuidedEngine) else engine


def _rule(usual: BatchRule, most: int, *, on_device: bool) -> BatchRule:
    """Return how large a batch of several callers may be: as memory allows and, on the CPU, no longer than a window.

    Nothing is gained there by longer runs, and whoever comes next waits for the whole of one.
    """
    if on_device:
        return usual._replace(most=most)
    return BatchRule(most, lambda clips, longest: clips * longest <= RUN_SECONDS and usual.fits(clips, longest))


def stacked(rows: Sequence[Features]) -> Features:
    """Return batches of one as one batch, zeros after the ends of the shorter ones."""
    if len(rows) == 1:
        return rows[0]
    first = rows[0].frames
    longest = max(row.frames.shape[2] for row in rows)
    shape = (len(rows), first.shape[1], longest)
    frames = np.zeros(shape, first.dtype) if isinstance(first, np.ndarray) else _beside(first, shape)
    for place, row in enumerate(rows):
        frames[place, :, : row.frames.shape[2]] = row.frames[0]
    return Features(frames, np.concatenate([row.lengths for row in rows]))


def _beside(array: Any, shape: tuple[int, ...]) -> Any:
    """Return zeros where an array of a card lies."""
    from tdt.cuda_arrays import require_cupy

    cupy = require_cupy()
    with array.device:
        return cupy.zeros(shape, array.dtype)


def chosen(encoded: Encoded, places: Sequence[int]) -> Encoded:
    """Return some utterances of a batch."""
    if len(places) == len(encoded.lengths):
        return encoded
    index = list(places)
    frames, projected = (None if values is None else values[index] for values in (encoded.frames, encoded.projected))
    return Encoded(frames, encoded.lengths[index], projected)  # type: ignore[arg-type]
