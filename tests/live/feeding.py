"""Feeds live streams in every way, and watches every update: what is settled only grows, and is said once.

Encoder frames come from a script: the first sample of each frame says what is decoded there (see :func:`audio`). So any
course of tokens can be had at once, and no context changes it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.lifetime import Lifetime
from tdt.live.contexts import Contexts
from tdt.live.endpoint import usual_rules
from tdt.live.lockstep import LiveBatch
from tdt.live.steps import Stepper
from tdt.live.stream import LiveStream, Setup
from tdt.spec import ModelSpec
from tdt.stages import DecoderState, Encoded, Features, Hypothesis
from tdt.text.detokenizer import Detokenizer
from tdt.timeline import NULL

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Sequence

    from tdt.live.updates import Update

PIECES = ("<unk>", "▁one", "▁two", "▁three", "s", ".", ",", "▁", "▁four", "teen", "<blk>")
ONE, TWO, THREE, S, STOP, COMMA, SPACE, FOUR, TEEN = range(1, 10)
BLANK = len(PIECES) - 1
FRAME = 1280
SPEC = ModelSpec("scripted", 1, 8, 1, PIECES, BLANK, (0, 1, 2, 3, 4), 1, 1)


def audio(script: Iterable[tuple[int, int] | int]) -> np.ndarray:
    """Return samples, one frame for each entry: (token, duration), or a number n for a blank that jumps n frames."""
    values = [-entry if isinstance(entry, int) else 100 * entry[0] + entry[1] + 1 for entry in script]
    return np.repeat(np.array(values, np.float32) / 2048, FRAME)


class ScriptedStages:
    """Extractor, encoder and engine in one; features are the samples themselves."""

    def __init__(self) -> None:
        self.runs: list[list[int]] = []  # samples of each utterance of each encoder run
        self.decoded: list[list[int]] = []  # frames of each utterance of each decode
        self.fails: dict[str, Exception] = {}  # stage → what it raises where its input holds 99 full scales
        self.pause: threading.Event | None = None

    def __call__(self, batch: Sequence[np.ndarray], timeline: Any = NULL) -> Features:
        with timeline.span("features"):
            longest = max(len(samples) for samples in batch)
            frames = np.stack([np.pad(samples, (0, longest - len(samples))) for samples in batch])[:, None]
            return Features(frames, np.array([len(samples) for samples in batch], np.int64))

    def encode_for_decoding(self, features: Features, timeline: Any = NULL, *, on_host: bool = False) -> Encoded:
        assert on_host
        with timeline.span("encoder"):
            self.runs.append(features.lengths.tolist())
            if self.pause is not None:
                assert self.pause.wait(30)
            self._fail("encoder", features.frames)
            lengths = np.array([SPEC.encoder_length(int(count) // 160) for count in features.lengths], np.int64)
            padded = np.pad(features.frames[:, 0], ((0, 0), (0, FRAME)))
            return Encoded(padded[:, ::FRAME][:, : int(lengths.max()), None] * np.float32(2048), lengths)

    def decode(
        self, encoded: Encoded, states: Sequence[DecoderState | None] | None = None, timeline: Any = NULL
    ) -> tuple[list[Hypothesis], list[DecoderState]]:
        assert states is not None
        self.decoded.append(encoded.lengths.tolist())
        self._fail("engine", encoded.frames / 2048)
        done = [
            self._walk(frames[:length, 0], state)
            for frames, length, state in zip(encoded.frames, encoded.lengths, states, strict=True)
        ]
        return [hypothesis for hypothesis, _ in done], [state for _, state in done]

    def _fail(self, stage: str, values: np.ndarray) -> None:
        if stage in self.fails and np.any(values == 99):
            raise self.fails[stage]

    @staticmethod
    def _walk(frames: np.ndarray, state: DecoderState | None) -> tuple[Hypothesis, DecoderState]:
        """Decode; `hidden` counts the tokens since decoding began afresh, and each token's logprob tells it."""
        fresh = state or DecoderState(BLANK, np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32))
        label, count, time = fresh.label, float(fresh.hidden[0, 0]), fresh.skip
        found: list[tuple[int, int, int, float]] = []
        while time < len(frames):
            value = round(float(frames[time]))
            if value <= 0:
                time += max(1, -value)
                continue
            token, duration = divmod(value - 1, 100)
            found.append((token, time + fresh.frames_decoded, duration, -count))
            label, count = token, count + 1
            time += max(1, duration)
        columns = list(zip(*found, strict=True)) or [(), (), (), ()]
        hypothesis = Hypothesis(
            np.array(columns[0], np.int32), np.array(columns[1], np.int32), np.array(columns[2], np.int32),
            np.array(columns[3], np.float32), np.ones(len(found), np.float32),
        )  # fmt: skip
        hidden = np.array([[count]], np.float32)
        after = DecoderState(label, hidden, hidden, time - len(frames), fresh.frames_decoded + len(frames))
        return hypothesis, after


def scripted(
    left: int = 4,
    chunk: int = 3,
    right: int = 2,
    *,
    silence: int | None = 5,
    restart: int | None = None,
    **options: Any,
) -> Setup:
    """Return what streams of the scripted model share; contexts and pauses in frames."""
    stages: Any = ScriptedStages()
    stepper = Stepper(SPEC, stages, stages, stages, FRAME, restart)
    given = {"rate_hz": 16000, "channel": None, "confidence": "entropy", "timeline": NULL} | options
    return Setup(
        SPEC, Detokenizer(PIECES), stepper, Contexts(left, chunk, right, FRAME), usual_rules(silence, 0.08),
        lifetime=given.pop("lifetime", None) or Lifetime(lambda: None), **given,
    )  # fmt: skip


def stages_of(setup: Setup) -> ScriptedStages:
    made: Any = setup.stepper.encoder
    return made


def naive_tokens(samples: np.ndarray, contexts: Contexts) -> list[tuple[int, int, int]]:
    """Return tokens, frames and durations of a whole recording: the windows spelled out, one state carried."""
    left_most, chunk, right = contexts.left_samples, contexts.chunk_samples, contexts.right_samples
    stages, state, found, at = ScriptedStages(), None, [], 0
    while at < len(samples):
        last = len(samples) - at <= chunk + right
        size = len(samples) - at if last else chunk
        left = min(at, left_most + chunk + right - size if last else left_most)
        window = samples[at - left : at + size + (0 if last else right)]
        encoded = stages.encode_for_decoding(stages([window]), on_host=True)
        first = left // FRAME
        stop = int(encoded.lengths[0]) if last else first + chunk // FRAME
        part = Encoded(encoded.frames[:, first:stop], np.array([stop - first]))
        (spoken,), (state,) = stages.decode(part, [state])
        found += zip(spoken.token_ids.tolist(), spoken.frames.tolist(), spoken.durations.tolist(), strict=True)
        at += size
    return found


@dataclass
class Watcher:
    """Looks at the updates of one stream, and keeps what was said."""

    finals: list[str] = field(default_factory=list)
    updates: list[Update] = field(default_factory=list)
    running: Update | None = None
    speaking: bool = False
    heard: float = 0.0
    end: float = 0.0  # of the utterance before

    def see(self, updates: Iterable[Update]) -> None:
        for update in updates:
            self._see(update)
            self.updates.append(update)

    def _see(self, update: Update) -> None:
        assert update.audio_seconds >= self.heard
        assert update.start <= update.end
        self.heard = update.audio_seconds
        if update.kind == "speech":
            assert not self.speaking
            self.speaking = True
        elif update.kind == "silence":
            assert self.speaking
            self.speaking, self.running = False, None
        else:
            assert self.speaking
            self._see_words(update)

    def _see_words(self, update: Update) -> None:
        before = self.running
        flags = [word.settled for word in update.words]
        assert flags == sorted(flags, reverse=True), "a draft before what is settled"
        settled = [word for word in update.words if word.settled]
        assert "".join(word.text for word in settled) == update.final.replace(" ", "")
        assert "".join(word.text for word in update.words) == (update.final + update.draft).replace(" ", "")
        times = [time for word in update.words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert update.start >= self.end - 1e-9
        if before is not None:
            assert update.final.startswith(before.final), "what was settled has changed"
            known = [word for word in before.words if word.settled]
            assert settled[: len(known)] == known
            if known:
                assert update.start == before.start
        if update.kind == "partial":
            assert update != before, "told twice"
            self.running = update
            return
        assert (update.draft, all(flags)) == ("", True)
        self.finals.append(update.final)
        self.running, self.end = None, update.end


def feed(setup: Setup, samples: np.ndarray, cuts: Sequence[int] = ()) -> tuple[LiveStream, Watcher]:
    """Push samples in pieces that end at the cuts, and finish."""
    stream, watcher = LiveStream(setup), Watcher()
    for piece in np.split(samples, sorted(cuts)):
        watcher.see(stream.push(piece))
    watcher.see(stream.finish())
    assert stream.finish() == []
    assert (watcher.running is None) or watcher.running.final + watcher.running.draft == ""
    return stream, watcher


def feed_together(setup: Setup, recordings: Sequence[np.ndarray], block: int) -> tuple[LiveBatch, list[Watcher]]:
    """Push several recordings side by side in blocks; each is finished when it ends, the others go on."""
    batch, watchers = LiveBatch(setup, len(recordings)), [Watcher() for _ in recordings]
    at, going = 0, set(range(len(recordings)))
    while going:
        blocks = [samples[at : at + block] if place in going else None for place, samples in enumerate(recordings)]
        at += block
        over = [place for place in going if at >= len(recordings[place])]
        for answers in (batch.push(blocks), batch.finish(over)):
            for watcher, answer in zip(watchers, answers, strict=True):
                assert isinstance(answer, list), answer
                watcher.see(answer)
        going -= set(over)
    return batch, watchers
