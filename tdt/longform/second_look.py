"""A second look at speech that holds no token: it is decoded again in windows of its own, with other cuts.

Words that are found there are put in; what stays empty is reported. Nothing is run for it where each second of speech
holds a token: of a recording that was cut the detector's verdicts are known, of a clip it is asked about stretches of a
second or more that are free of tokens.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tdt.errors import TdtError
from tdt.failures import outcome
from tdt.longform.batching import plan_batches
from tdt.longform.skips import (
    NEIGHBOURS,
    Addition,
    Stretch,
    Words,
    fitting,
    grouped,
    orphans,
    put_in,
    sure_speech,
    token_free,
    within,
)
from tdt.longform.sounds import AROUND_SECONDS, ClipSound, PiecesSound
from tdt.longform.stitching import afresh
from tdt.spec import SAMPLE_RATE_HZ
from tdt.stages import Hypothesis
from tdt.timeline import NULL, SECOND_LOOK, Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from tdt.longform.batching import BatchRule
    from tdt.longform.chunking import Window
    from tdt.longform.sounds import Sound
    from tdt.longform.underway import Step
    from tdt.longform.windows import Piece
    from tdt.protocols import Engine, Extractor, FrameEncoder
    from tdt.spec import ModelSpec

    Float32 = npt.NDArray[np.float32]

# Speech of this length without a token is no pause between words any more. In 2 h of joined clips, 20 min for each kind
# of gap in tools/_long_audio.py, the longest that the bundled model left without a token was 0.64 s.
LEAST_SECONDS = 1.0
# The detector's doubts between two words.
BRIDGED_SECONDS = 0.32
# A word may begin before the detector is sure, and end after.
EDGE_SECONDS = 0.4
# Stretches whose windows would overlap share one up to this length, and longer ones are cut.
LONGEST_SECONDS = 20.0

_log = logging.getLogger("tdt")


class Looked(NamedTuple):
    """What a second look has found.

    Parameters
    ----------
    additions : sequence of Addition
        In order.
    gaps : sequence of Stretch
        Speech that still holds no token.
    """

    additions: Sequence[Addition] = ()
    gaps: Sequence[Stretch] = ()


@dataclass(frozen=True, slots=True)
class SecondLook:
    """Looks again.

    Parameters
    ----------
    spec : ModelSpec
    extractor, encoder
        The stages.
    most_frames : int
        Of the longest window.
    batches : BatchRule
        How many windows share a run.
    """

    spec: ModelSpec
    extractor: Extractor
    encoder: FrameEncoder
    most_frames: int
    batches: BatchRule

    def __call__(
        self,
        engine_of: Callable[[], Engine],
        sound: Sound,
        tokens: Hypothesis,
        span: Stretch,
        name: str,
        timeline: Recorder = NULL,
    ) -> Looked:
        """Look at what lies between two frames.

        Parameters
        ----------
        engine_of : callable
            Returns the recording's engine; asked only where there is something to decode.
        sound : Sound
        tokens : Hypothesis
            All that were heard there, in order, perhaps with some from before.
        span : Stretch
        name : str
            What messages call the recording.
        timeline : Recorder, optional
            All that it costs is one stage of it.
        """
        free = token_free(tokens, span.first, span.last, self._least)
        if not free:
            return Looked()
        with timeline.span(SECOND_LOOK):
            sure = [sure_speech(sound.speech(one), one.first, self._frames(BRIDGED_SECONDS)) for one in free]
            groups = [self._groups(one, spoken) for one, spoken in zip(free, sure, strict=True)]
            looks = [(one, group) for one, inside in zip(free, groups, strict=True) for group in inside]
            if not looks:
                return Looked()
            windows = [self._window(group, sound.span) for _, group in looks]
            found = outcome(lambda: self._decoded(engine_of(), sound, windows), name)
            if isinstance(found, TdtError):  # what was heard at first is worth more than an error
                _log.warning("%s: skipped speech could not be decoded again: %s", name, found)
                found = [Hypothesis.empty() for _ in windows]
            additions = self._additions(tokens, looks, found)
            filled = put_in(tokens, additions)
            gaps = [gap for one, spoken in zip(free, sure, strict=True) for gap in self._empty(filled, one, spoken)]
            return Looked(additions, gaps)

    @property
    def frame_samples(self) -> int:
        """Samples of an encoder frame."""
        return round(self.spec.frame_seconds * SAMPLE_RATE_HZ)

    def clip(
        self, engine_of: Callable[[], Engine], samples: Float32, tokens: Hypothesis, name: str, timeline: Recorder
    ) -> tuple[Hypothesis, Sequence[Stretch]]:
        """Look at a clip that was not cut [shape=(n,)]; return its tokens and what stays empty."""
        sound = ClipSound(samples, self.frame_samples)
        looked = self(engine_of, sound, tokens, sound.span, name, timeline)
        return put_in(tokens, looked.additions), looked.gaps

    # --- within ---------------------------------------------------------------------------------------------------

    @property
    def _least(self) -> int:
        return self._frames(LEAST_SECONDS)

    @property
    def _around(self) -> int:
        return min(self._frames(AROUND_SECONDS), self.most_frames // 4)

    @property
    def _longest(self) -> int:
        return min(self._frames(LONGEST_SECONDS), self.most_frames - 2 * self._around)

    def _frames(self, seconds: float) -> int:
        return math.ceil(seconds / self.spec.frame_seconds - 1e-9)

    def _groups(self, free: Stretch, sure: Sequence[Stretch]) -> list[Stretch]:
        """Return what to look at: speech of a second or more, and shorter speech near it without a token."""
        groups = grouped(within(free, sure, 1), 2 * self._around, self._longest)
        return [group for group in groups if within(group, sure, self._least)]

    def _window(self, group: Stretch, span: Stretch) -> Stretch:
        return Stretch(max(span.first, group.first - self._around), min(span.last, group.last + self._around))

    def _empty(self, tokens: Hypothesis, free: Stretch, sure: Sequence[Stretch]) -> list[Stretch]:
        return [gap for left in token_free(tokens, *free, self._least) for gap in within(left, sure, self._least)]

    def _decoded(self, engine: Engine, sound: Sound, windows: Sequence[Stretch]) -> list[Hypothesis]:
        """Decode windows, each from the start; frames count from the recording's."""
        found = [Hypothesis.empty() for _ in windows]
        clips = [_long_enough(sound.samples(window)) for window in windows]
        for places in plan_batches([len(clip) / SAMPLE_RATE_HZ for clip in clips], self.batches):
            features = self.extractor([clips[place] for place in places], NULL)
            encoded = self.encoder.encode_for_decoding(features, NULL, on_host=True)
            states = [afresh(self.spec, windows[place].first) for place in places]
            for place, tokens in zip(places, engine.decode(encoded, states, NULL)[0], strict=True):
                found[place] = tokens
        return found

    def _additions(
        self, tokens: Hypothesis, looks: Sequence[tuple[Stretch, Stretch]], found: Sequence[Hypothesis]
    ) -> list[Addition]:
        """Return what each look adds; looks into one stretch go on from each other."""
        additions: list[Addition] = []
        edge, words = self._frames(EDGE_SECONDS), Words.of(self.spec.pieces)
        earlier = at = 0  # the end of the group before, and of what it added
        for place, ((free, group), heard) in enumerate(zip(looks, found, strict=True)):
            number = int(np.searchsorted(tokens.frames, free.first))
            before = tokens.part(max(0, number - NEIGHBOURS), number)
            if additions and additions[-1].number == number:
                before = Hypothesis.concatenate([before, additions[-1].tokens])
            after = tokens.part(number, number + NEIGHBOURS)
            first = at if earlier == group.first else max(at, group.first - edge)
            last, instead = min(free.last, group.last + edge), 0
            # The rest of a word that was skipped in its middle would go on the last one that was found.
            if place + 1 == len(looks) or looks[place + 1][0] != free:
                instead = self._heard_anew(after, group, words)
                after = after.part(instead, len(after))
                last = int(after.frames[0]) if instead else last
            taken = fitting(before, heard, after, Stretch(max(free.first, first), last), words)
            at, earlier = max(free.first, first), group.last
            if len(taken):
                additions.append(Addition(number, instead, taken))
                at = int(taken.frames[-1] + max(1, taken.durations[-1]))
        return additions

    def _heard_anew(self, after: Hypothesis, group: Stretch, words: Words) -> int:
        """Return how many tokens after a stretch are the rest of a word, all of it within the look."""
        count = orphans(after, words)
        if not count or int(after.frames[count]) >= group.last + self._around:
            return 0
        # What lies behind another stretch without tokens is that one's.
        first, last = int(after.frames[0]), int(after.frames[count])
        return 0 if token_free(after.part(0, count), first, last, self._least) else count


@dataclass(frozen=True, slots=True)
class Block:
    """Windows of a recording that have been decoded.

    Parameters
    ----------
    pieces : sequence of Piece
        At least one.
    steps : list of Step
        What each has added and, at the end of the recording, what was still to come of the last one.
    span : Stretch
        What no later token can fall into.
    recent : Hypothesis
        Tokens before these.
    name : str
    """

    pieces: Sequence[Piece]
    steps: list[Step]
    span: Stretch
    recent: Hypothesis
    name: str

    def look_over(self, look: SecondLook, engine: Engine, timeline: Recorder) -> Sequence[Stretch]:
        """Put what a second look finds into the steps; return what stays empty."""
        sounding = [piece for piece in self.pieces if not piece.window.is_silent]
        if not sounding:
            return ()
        sizes = [len(tokens) for tokens, _ in self.steps]
        tokens = Hypothesis.concatenate([self.recent, *(tokens for tokens, _ in self.steps)])
        sound = PiecesSound(sounding, look.frame_samples)
        looked = look(lambda: engine, sound, tokens, self.span, self.name, timeline)
        windows = [piece.window for piece in (*self.pieces, self.pieces[-1])]
        added: dict[int, list[Addition]] = {}
        for number, instead, found in looked.additions:
            step = step_of(number - len(self.recent), instead, int(found.frames[0]), sizes, windows)
            at = number - len(self.recent) - sum(sizes[:step])
            added.setdefault(step, []).append(Addition(at, min(instead, sizes[step] - at), found))
        for step, additions in added.items():
            before, fresh = self.steps[step]
            self.steps[step] = put_in(before, additions), fresh
        return looked.gaps


def step_of(number: int, instead: int, frame: int, sizes: Sequence[int], windows: Sequence[Window]) -> int:
    """Return into which of several steps, of so many tokens each, goes what comes before a token and at a frame.

    Where one step ends and others begin, that of the tokens which it replaces or, where there are none, the last that
    the frame lies in or after.
    """
    at, fit = 0, []
    for step, size in enumerate(sizes):
        if at <= number <= at + size:
            fit.append(step)
        at += size
    if instead:
        return fit[-1]
    begun = [step for step in fit if windows[step].first <= frame]
    return begun[-1] if begun else fit[0]


def _long_enough(samples: Float32) -> Float32:
    missing = SAMPLE_RATE_HZ - len(samples)
    return np.pad(samples, (0, missing)) if missing > 0 else samples
