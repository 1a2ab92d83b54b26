"""Recordings of any length: cut, encoded in batches of like length, decoded in order, given out as they become final.

Reading and cutting, features and encoder, and decoding each run in a thread of their own, a bounded distance ahead of
the next, so memory does not depend on the length.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tdt.errors import TdtError
from tdt.failures import outcome
from tdt.lifetime import Bound, Origin
from tdt.longform.ahead import Ahead, in_stages, in_turn
from tdt.longform.batching import plan_batches
from tdt.longform.stitching import EncodedWindow, Frames, Stitcher
from tdt.longform.underway import Pace, Part, Recording
from tdt.spec import SAMPLE_RATE_HZ
from tdt.text import Segmenter, merged
from tdt.timeline import NULL, Recorder

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from tdt.audio import BlockReader
    from tdt.longform.chunking import Plan
    from tdt.longform.windows import Piece
    from tdt.protocols import AcousticEncoder, Engine, Extractor
    from tdt.spec import ModelSpec
    from tdt.stages import Float32, Hypothesis
    from tdt.text import Confidence

# Audio from which windows of like length are picked for a batch: more fills batches better, and comes out later.
LOOKAHEAD_SECONDS = 120.0
# Windows from a pipe do not wait longer for others to share a run with: it may be as slow as speech.
PATIENCE_SECONDS = 0.25
# As NeMo pads a short clip; here on the right only, so that frames keep their place.
SHORTEST_WINDOW_SAMPLES = SAMPLE_RATE_HZ
_PIECES_AHEAD = 8


class _Heard(NamedTuple):
    """A window on its way: samples, then encoder frames, or the end of its recording."""

    recording: Recording
    piece: Piece | None
    frames: Frames | None = None


@dataclass(frozen=True, slots=True)
class LongForm(Bound):
    """The pipeline for long recordings.

    Parameters
    ----------
    spec : ModelSpec
    extractor, encoder, engine
        The stages of the recogniser.
    plan : Plan
    confidence : {"entropy", "max_prob"}
    batch_size : int, optional
        Most windows to a batch; by default up to 8, fewer where they are long.
    jobs : int
        Recordings under way at once, decoded in lockstep.
    origin : Origin, optional
        Where the stages were made; it runs nowhere else.
    """

    spec: ModelSpec
    extractor: Extractor
    encoder: AcousticEncoder
    engine: Engine
    plan: Plan
    confidence: Confidence = "entropy"
    batch_size: int | None = None
    jobs: int = 1
    origin: Origin = field(default_factory=Origin, repr=False, compare=False)

    @property
    def longest_uncut(self) -> int:
        """Samples of the longest recording that stays in one piece."""
        return round(self.plan.chunk * self.spec.frame_seconds * SAMPLE_RATE_HZ)

    def recording(self, reader: BlockReader, index: int = 0, *, pace: Pace = "file") -> Recording:
        """Return a recording that has not begun.

        Parameters
        ----------
        reader : BlockReader
        index : int
            Its place among several.
        pace : {"file", "pipe", "live"}
            From a file, all can be had at once: what fits into a window is not cut, and windows wait to share runs.
            What comes from a pipe may come as it is spoken: it is cut from its first pause on, and windows wait for
            company only where there is some. Live, each window is run alone.
        """
        return Recording(reader, Segmenter(self.spec, self.confidence), index, pace=pace)

    def run(self, recordings: Iterable[Recording], timeline: Recorder = NULL) -> Generator[Part, None, None]:
        """Transcribe recordings; several are under way at once where `jobs` says so.

        Parameters
        ----------
        recordings : iterable of Recording
            Taken from as others end.
        timeline : Recorder, optional

        Yields
        ------
        Part
            For each recording in order; those of several recordings interleave. What they say of a recording does not
            depend on the others (with the native decoder to the last bit).
        """
        self.origin.require()
        if timeline is not NULL:  # a profile runs the stages one after another, so that their times add up
            for blocks in self._rounds(recordings, timeline):
                yield from self._decoded(self._encoded(blocks, timeline), timeline)
            return
        with closing(in_stages(self._rounds(recordings), partial(self._encoded, timeline=timeline))) as encoded:
            for heard in encoded:
                yield from self._decoded(heard, timeline)

    # --- cutting --------------------------------------------------------------------------------------------------

    def _rounds(self, recordings: Iterable[Recording], timeline: Recorder = NULL) -> Iterator[list[list[_Heard]]]:
        """Yield a block of windows of each recording under way; each is read in a thread of its own."""
        waiting = iter(recordings)
        active: list[tuple[Recording, Ahead[Piece] | Generator[Piece, None, None]]] = []
        frame_samples = round(self.spec.frame_seconds * SAMPLE_RATE_HZ)
        try:
            while True:
                while len(active) < self.jobs and (begun := next(waiting, None)) is not None:
                    pieces = begun.pieces(self.plan, frame_samples)
                    ahead = Ahead(pieces, _PIECES_AHEAD) if timeline is NULL else in_turn(pieces, timeline)
                    active.append((begun, ahead))
                if not active:
                    return
                blocks = [_block(recording, pieces) for recording, pieces in active]
                active = [entry for entry, block in zip(active, blocks, strict=True) if block[-1].piece is not None]
                yield blocks
        finally:
            for _, pieces in active:
                pieces.close()

    # --- features and encoder -------------------------------------------------------------------------------------

    def _encoded(self, blocks: Sequence[Sequence[_Heard]], timeline: Recorder) -> list[_Heard]:
        """Encode the windows of each block in batches of like length; the order stays.

        Batches are made of one block: what shares a run changes the last bits of the encoder's sums, and a recording's
        result must not depend on what else was under way.
        """
        done: list[_Heard] = []
        for block in blocks:
            waiting = [heard for heard in block if heard.piece is not None]
            seconds = [len(_samples(heard)) / SAMPLE_RATE_HZ for heard in waiting]
            for batch in plan_batches(seconds, self.batch_size):
                members = [waiting[number] for number in batch]
                for number, frames in zip(batch, self._frames(members, timeline), strict=True):
                    waiting[number] = waiting[number]._replace(frames=frames)
            done += [*waiting, *(heard for heard in block if heard.piece is None)]
        return done

    def _frames(self, members: Sequence[_Heard], timeline: Recorder) -> Sequence[Frames | None]:
        """Encode together; where that fails, one by one, so that one costs no other its result."""
        frames = outcome(lambda: self._encode(members, timeline), members[0].recording.name)
        if not isinstance(frames, TdtError):
            return frames
        if len(members) > 1:
            return [frames for heard in members for frames in self._frames([heard], timeline)]
        members[0].recording.fail(frames)
        return [None]

    def _encode(self, members: Sequence[_Heard], timeline: Recorder) -> list[Frames]:
        features = self.extractor([_samples(heard) for heard in members], timeline)
        encoded = self.encoder.encode_for_decoding(features, timeline, on_host=True)
        projected = encoded.projected is not None
        rows = zip(encoded.projected if projected else encoded.frames, encoded.lengths.tolist(), strict=True)
        return [Frames(frames[:length], projected=projected) for frames, length in rows]

    # --- decoding -------------------------------------------------------------------------------------------------

    def _decoded(self, windows: Sequence[_Heard], timeline: Recorder) -> Iterator[Part]:
        """Decode the windows of a round: the next of each recording in lockstep, until none is left."""
        lines: dict[Recording, list[_Heard]] = {}
        for heard in windows:
            lines.setdefault(heard.recording, []).append(heard)
        steps: dict[Recording, list[tuple[Hypothesis, bool]]] = {recording: [] for recording in lines}
        ended = {recording for recording, line in lines.items() if line[-1].piece is None}
        rounds = max(len(line) for line in lines.values())
        for turn in range(rounds):
            self._step([line[turn] for line in lines.values() if turn < len(line)], steps, timeline)
        with timeline.span("text"):
            for recording in lines:
                done = recording in ended
                part = outcome(partial(self._part, recording, steps[recording], done=done), recording.name)
                if isinstance(part, TdtError):
                    recording.fail(part)
                    part = Part(recording, None, [], done)
                yield part

    def _step(
        self, turn: Sequence[_Heard], steps: dict[Recording, list[tuple[Hypothesis, bool]]], timeline: Recorder
    ) -> None:
        """Decode one window each."""
        ready = [heard for heard in turn if heard.frames is not None and heard.piece is not None]
        for heard in turn:
            heard.recording.windows += heard.piece is not None
        if not ready:
            return
        windows = [EncodedWindow(heard.piece.window, heard.frames) for heard in ready]  # type: ignore[union-attr,arg-type]
        threads = [heard.recording.thread for heard in ready]
        step = partial(Stitcher(self.engine, self.spec).step, threads, windows, timeline)
        spoken = outcome(step, ready[0].recording.name)
        if isinstance(spoken, TdtError):
            if len(ready) > 1:
                for heard in ready:
                    heard.recording.windows -= 1
                    self._step([heard], steps, timeline)
                return
            ready[0].recording.fail(spoken)
            return
        for heard, tokens, item in zip(ready, spoken, windows, strict=True):
            steps[heard.recording].append((tokens, item.window.link == "fresh"))
            heard.recording.seconds = item.window.last * self.spec.frame_seconds

    def _part(self, recording: Recording, steps: list[tuple[Hypothesis, bool]], *, done: bool) -> Part:
        if done:
            steps.append((Stitcher.flush(recording.thread), False))
            recording.seconds = recording.reader.samples_read / SAMPLE_RATE_HZ
        final = recording.segmenter.add_block(steps)
        rest = recording.segmenter.flush() if done else None
        both = [transcript for transcript in (final, rest) if transcript is not None]
        return Part(recording, merged(both) if both else None, steps, done)


def _block(recording: Recording, pieces: Ahead[Piece] | Iterator[Piece]) -> list[_Heard]:
    """Collect windows until there are enough to choose batches from, or the recording ends.

    Of a file they are always the same ones; of a pipe, those that come without a pause.
    """
    block: list[_Heard] = []
    seconds = 0.0
    while seconds < LOOKAHEAD_SECONDS:
        waits = recording.pace == "pipe" and block and isinstance(pieces, Ahead)
        if waits and not pieces.comes_within(PATIENCE_SECONDS):  # type: ignore[union-attr]
            break
        piece = outcome(lambda: next(pieces, None), recording.name)
        if isinstance(piece, TdtError):
            recording.fail(piece)
            piece = None
        block.append(_Heard(recording, piece))
        if piece is None or recording.pace == "live":
            break
        seconds += len(piece.samples) / SAMPLE_RATE_HZ
    return block


def _samples(heard: _Heard) -> Float32:
    assert heard.piece is not None
    samples = heard.piece.samples
    missing = SHORTEST_WINDOW_SAMPLES - len(samples)
    return np.pad(samples, (0, missing)) if missing > 0 else samples
