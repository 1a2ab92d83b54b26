"""Recordings of any length: cut, encoded in batches of like length, decoded in order, given out as they become final.

Reading and cutting, features and encoder, and decoding each run in a thread of their own, a bounded distance ahead of
the next, so memory does not depend on the length. On a card, features and encoder have a thread each.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from tdt.ahead import Ahead, in_stages, in_turn
from tdt.errors import TdtError
from tdt.failures import outcome
from tdt.lifetime import Bound, Origin
from tdt.longform.batching import USUAL, BatchRule, plan_batches
from tdt.longform.rounds import Batch, Heard, Round, block_of, prepared, samples_of
from tdt.longform.second_look import Block, SecondLook
from tdt.longform.skips import Stretch
from tdt.longform.stitching import EncodedWindow, Frames, Stitcher
from tdt.longform.underway import Pace, Part, Recording, Step
from tdt.spec import SAMPLE_RATE_HZ
from tdt.stages import Hypothesis
from tdt.text import Segmenter, merged
from tdt.timeline import NULL, Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from tdt.audio import BlockReader
    from tdt.longform.chunking import Plan, Window
    from tdt.longform.windows import Piece
    from tdt.protocols import Engine, Extractor, FrameEncoder
    from tdt.spec import ModelSpec
    from tdt.stages import Features, Float32
    from tdt.text import ConfidenceLike

_PIECES_AHEAD = 8


@dataclass(frozen=True, slots=True)
class LongForm(Bound):
    """The pipeline for long recordings.

    Parameters
    ----------
    spec : ModelSpec
    extractor, encoder, engine
        The stages of the recogniser.
    plan : Plan
    confidence : {"entropy", "max_prob"} or Confidence
    batches : BatchRule, optional
        How many windows share a run; by default up to 8, fewer where they are long.
    jobs : int
        Recordings under way at once, decoded in lockstep.
    works_ahead : bool
        Whether features have a thread of their own, a round ahead of the encoder, as on a card.
    looks_again : bool
        Whether speech that holds no token is decoded once more.
    origin : Origin, optional
        Where the stages were made; it runs nowhere else.
    """

    spec: ModelSpec
    extractor: Extractor
    encoder: FrameEncoder
    engine: Engine
    plan: Plan
    confidence: ConfidenceLike = "entropy"
    batches: BatchRule = USUAL
    jobs: int = 1
    works_ahead: bool = False
    looks_again: bool = True
    origin: Origin = field(default_factory=Origin, repr=False, compare=False)

    @property
    def longest_uncut(self) -> int:
        """Samples of the longest recording that stays in one piece."""
        return round(self.plan.chunk * self.spec.frame_seconds * SAMPLE_RATE_HZ)

    @property
    def _second_look(self) -> SecondLook:
        """What decodes skipped speech again."""
        return SecondLook(self.spec, self.extractor, self.encoder, self.plan.chunk, self.batches)

    def look_again(
        self,
        engine_of: Callable[[], Engine],
        samples: Float32,
        tokens: Hypothesis,
        name: str,
        timeline: Recorder = NULL,
    ) -> tuple[Hypothesis, Sequence[Stretch]]:
        """Decode again what was skipped of an uncut clip [shape=(n,)], 16 kHz, by the engine that is asked for.

        Returns
        -------
        tokens : Hypothesis
            With what was found.
        gaps : sequence of Stretch
            Frames of speech that stay without a token.
        """
        if not self.looks_again:
            return tokens, ()
        return self._second_look.clip(engine_of, samples, tokens, name, timeline)

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
                yield from self._decoded(self._encoded(self._planned(blocks, timeline), timeline), timeline)
            return
        planned, encode = partial(self._planned, timeline=timeline), partial(self._encoded, timeline=timeline)
        prepare = [prepared] if self.works_ahead else []
        with closing(in_stages(map(planned, self._rounds(recordings)), *prepare, encode)) as encoded:
            for heard in encoded:
                yield from self._decoded(heard, timeline)

    # --- cutting --------------------------------------------------------------------------------------------------

    def _rounds(self, recordings: Iterable[Recording], timeline: Recorder = NULL) -> Iterator[list[list[Heard]]]:
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
                blocks = [block_of(recording, pieces) for recording, pieces in active]
                active = [entry for entry, block in zip(active, blocks, strict=True) if block[-1].piece is not None]
                yield blocks
        finally:
            for _, pieces in active:
                pieces.close()

    # --- features and encoder -------------------------------------------------------------------------------------

    def _planned(self, blocks: Sequence[Sequence[Heard]], timeline: Recorder) -> Round:
        """Plan batches of like length.

        Batches are made of one block: what shares a run changes the last bits of the encoder's sums, and a recording's
        result must not depend on what else was under way.
        """
        windows = [heard for block in blocks for heard in block]
        planned: list[list[int]] = []
        first = 0
        for block in blocks:
            places = [first + place for place, heard in enumerate(block) if heard.has_sound]
            seconds = [len(samples_of(windows[place])) / SAMPLE_RATE_HZ for place in places]
            planned += [[places[number] for number in batch] for batch in plan_batches(seconds, self.batches)]
            first += len(block)
        return Round(
            windows, (self._featured([windows[place] for place in places], places, timeline) for places in planned)
        )

    def _featured(self, members: Sequence[Heard], places: Sequence[int], timeline: Recorder) -> Batch:
        samples = [samples_of(heard) for heard in members]
        features = outcome(lambda: self.extractor(samples, timeline), members[0].recording.name)
        return Batch(members, places, features)

    def _encoded(self, planned: Round, timeline: Recorder) -> list[Heard]:
        """Encode the windows of a round; the order stays."""
        done = list(planned.windows)
        for batch in planned.batches:
            for place, frames in zip(batch.places, self._frames(batch, timeline), strict=True):
                done[place] = done[place]._replace(frames=frames)
        return done

    def _frames(self, batch: Batch, timeline: Recorder) -> Sequence[Frames | None]:
        """Encode together; where that or the features failed, one by one, so that one costs no other its result."""
        members, features = batch.members, batch.features
        frames: list[Frames] | TdtError
        if isinstance(features, TdtError):
            frames = features
        else:
            frames = outcome(partial(self._encode, features, timeline), members[0].recording.name)
        if not isinstance(frames, TdtError):
            return frames
        if len(members) > 1:
            singles = (self._featured([heard], [0], timeline) for heard in members)
            return [frames for single in singles for frames in self._frames(single, timeline)]
        members[0].recording.fail(frames)
        return [None]

    def _encode(self, features: Features, timeline: Recorder) -> list[Frames]:
        encoded = self.encoder.encode_for_decoding(features, timeline, on_host=True)
        projected = encoded.projected is not None
        rows = zip(encoded.projected if projected else encoded.frames, encoded.lengths.tolist(), strict=True)
        return [Frames(frames[:length], projected=projected) for frames, length in rows]

    # --- decoding -------------------------------------------------------------------------------------------------

    def _decoded(self, windows: Sequence[Heard], timeline: Recorder) -> Iterator[Part]:
        """Decode the windows of a round: the next of each recording in lockstep, until none is left."""
        lines: dict[Recording, list[Heard]] = {}
        for heard in windows:
            lines.setdefault(heard.recording, []).append(heard)
        steps: dict[Recording, list[Step]] = {recording: [] for recording in lines}
        ended = {recording for recording, line in lines.items() if line[-1].piece is None}
        before = {recording: recording.thread.last for recording in lines}
        rounds = max(len(line) for line in lines.values())
        for turn in range(rounds):
            self._step([line[turn] for line in lines.values() if turn < len(line)], steps, timeline)
        gaps = {}
        for recording, line in lines.items():
            if recording in ended:
                steps[recording].append((Stitcher.flush(recording.thread), False))
            gaps[recording] = self._looked_over(line, steps[recording], before[recording], timeline)
        with timeline.span("text"):  # which is closed before anything is given out
            parts = [self._told(one, steps[one], gaps[one], done=one in ended) for one in lines]
        yield from parts

    def _looked_over(
        self, line: Sequence[Heard], steps: list[Step], before: Window | None, timeline: Recorder
    ) -> Sequence[Stretch]:
        """Look again at what a block of windows has left without a token; `before` is the window before."""
        recording, done = line[0].recording, line[-1].piece is None
        gaps: Sequence[Stretch] = ()
        pieces = [heard.piece for heard in line if heard.piece is not None]
        last = recording.thread.last
        # Where a window has failed, the recording has.
        if self.looks_again and pieces and last is not None and len(steps) == len(pieces) + done:
            span = Stretch(pieces[0].window.begin if before is None else before.back, last.last if done else last.back)
            block = Block(pieces, steps, span, recording.recent, recording.name)
            gaps = block.look_over(self._second_look, self.engine, timeline)
        recording.remember(steps)
        return gaps

    def _told(self, recording: Recording, steps: list[Step], gaps: Sequence[Stretch], *, done: bool) -> Part:
        """Return what has become final of a recording; where that cannot be made, it has failed."""
        part = outcome(partial(self._part, recording, steps, gaps, done=done), recording.name)
        if isinstance(part, TdtError):
            recording.fail(part)
            return Part(recording, None, [], done)
        return part

    def _step(self, turn: Sequence[Heard], steps: dict[Recording, list[Step]], timeline: Recorder) -> None:
        """Decode one window each."""
        ready = [heard for heard in turn if heard.frames is not None and heard.piece is not None]
        for heard in turn:
            heard.recording.windows += heard.piece is not None
            if heard.piece is not None and heard.piece.window.is_silent:
                steps[heard.recording].append((Hypothesis.empty(), True))
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

    def _part(self, recording: Recording, steps: list[Step], gaps: Sequence[Stretch], *, done: bool) -> Part:
        if done:
            recording.seconds = recording.reader.samples_read / SAMPLE_RATE_HZ
        final = recording.segmenter.add_block(steps, gaps)
        rest = recording.segmenter.flush() if done else None
        both = [transcript for transcript in (final, rest) if transcript is not None]
        return Part(recording, merged(both) if both else None, steps, done, gaps)
