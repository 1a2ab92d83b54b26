"""From tokens and frames to text, words and segments with seconds and confidences, exactly as NeMo makes them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from tdt.text.confidence import confidence_of
from tdt.text.detokenizer import SPACE_SYMBOL, Detokenizer, detokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tdt.spec import ModelSpec
    from tdt.stages import Hypothesis
    from tdt.text.confidence import ConfidenceLike
    from tdt.timeline import Timeline

SEGMENT_SEPARATORS = frozenset(".?!")  # NeMo's default `segment_seperators`


@dataclass(frozen=True, slots=True)
class Token:
    """One emitted token: `frame` and `duration` raw in encoder frames, `start` and `end` refined in seconds."""

    id: int
    piece: str
    frame: int
    duration: int
    start: float
    end: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Word:
    """A word with the marks that belong to it; seconds; by default the least of its tokens' confidences.

    `boosted` where phrases or a language model made it another word than plain decoding would have heard there.
    """

    text: str
    start: float
    end: float
    confidence: float
    boosted: bool = False


@dataclass(frozen=True, slots=True)
class Segment:
    """Words up to a full stop, question mark or exclamation mark; seconds."""

    text: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """What else may have been said, by a beam search: its text and its log-probability."""

    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Gap:
    """Where there surely is speech, for a second or more, and no token was emitted, twice; seconds."""

    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said.

    Parameters
    ----------
    text : str
        The whole text, empty for silence.
    tokens : tuple of Token
    words : tuple of Word
    segments : tuple of Segment
    audio_seconds : float
        Length of the user's clip.
    timeline : Timeline, optional
        Where the time of the call went, where that was asked for.
    candidates : tuple of Candidate
        With a beam, for audio that was not cut: the hypotheses that are left, best first, the text's own among them.
    logprobs : tuple of float
        Log-probability of each token.
    segment_sizes : tuple of int
        How many tokens each segment has.
    gaps : tuple of Gap
        Speech that was skipped and stayed empty in a second look, in order; none where there was no such look.
    """

    text: str
    tokens: tuple[Token, ...]
    words: tuple[Word, ...]
    segments: tuple[Segment, ...]
    audio_seconds: float
    timeline: Timeline | None = field(default=None, compare=False, repr=False)
    candidates: tuple[Candidate, ...] = field(default=(), repr=False)
    logprobs: tuple[float, ...] = field(default=(), compare=False, repr=False)
    segment_sizes: tuple[int, ...] = field(default=(), compare=False, repr=False)
    gaps: tuple[Gap, ...] = ()

    def with_gaps(self, gaps: Sequence[tuple[int, int]], spec: ModelSpec) -> Transcript:
        """Return this with gaps given by their frames (ends exclusive)."""
        times = [(first * spec.frame_seconds, last * spec.frame_seconds) for first, last in gaps]
        return replace(self, gaps=tuple(Gap(start, end) for start, end in times))


class _Span(NamedTuple):
    """Text over tokens `first` to `last` (inclusive), between two encoder frames."""

    text: str
    first: int
    last: int
    start: int
    end: int

    @property
    def tokens(self) -> slice:
        """Its tokens."""
        return slice(self.first, self.last + 1)


def build(
    hypothesis: Hypothesis,
    spec: ModelSpec,
    *,
    audio_seconds: float,
    confidence: ConfidenceLike = "entropy",
    left_pad: float = 0.0,
    clamp: bool = False,
) -> Transcript:
    """Make the transcript of one utterance.

    Parameters
    ----------
    hypothesis : Hypothesis
        Tokens, frames, durations and scores of the whole utterance.
    spec : ModelSpec
        Vocabulary and seconds per frame.
    audio_seconds : float
        Length of the user's clip, before any padding.
    confidence : {"entropy", "max_prob"} or Confidence
    left_pad : float
        Seconds of silence that were put before the clip; taken off all times.
    clamp : bool
        Keep times within the clip (for padded clips). NeMo does not: a last token may end after the audio does.

    Returns
    -------
    Transcript

    Raises
    ------
    OptionError
        Unknown `confidence`, or one that needs what the hypothesis does not carry.

    Notes
    -----
    Source: NeMo `compute_rnnt_timestamps` (rnnt_decoding.py), `get_words_offsets` and `get_segment_offsets`
    (timestamp_utils.py). Frames stay integers until the end.
    """
    pieces = detokenizer(spec.pieces)
    ids = [int(token) for token in hypothesis.token_ids]
    measure = confidence_of(confidence)
    scores = measure.of_tokens(hypothesis, spec)
    spans = refined_spans(ids, hypothesis.frames.tolist(), hypothesis.durations.tolist(), pieces)
    words = group_words(ids, spans, pieces)
    segments = group_segments(words)

    def seconds(frame: int) -> float:
        value = frame * spec.frame_seconds - left_pad
        return min(max(value, 0.0), audio_seconds) if clamp else value

    def boosted(word: _Span) -> bool:
        return hypothesis.boosted is not None and bool(hypothesis.boosted[word.tokens].any())

    return Transcript(
        text=pieces.text(ids),
        tokens=_tokens(ids, hypothesis, spans, scores, pieces, seconds),
        words=tuple(
            Word(span.text, seconds(span.start), seconds(span.end), measure.of_word(scores[span.tokens]), boosted(span))
            for span in words
        ),
        segments=tuple(Segment(s.text, seconds(s.start), seconds(s.end)) for s in segments),
        audio_seconds=audio_seconds,
        candidates=tuple(
            Candidate(pieces.text(other.hypothesis.token_ids.tolist()), other.score)
            for other in hypothesis.alternatives
        ),
        logprobs=tuple(hypothesis.logprobs.tolist()),
        segment_sizes=tuple(segment.last - segment.first + 1 for segment in segments),
    )


def _tokens(
    ids: list[int],
    hypothesis: Hypothesis,
    spans: Sequence[tuple[int, int]],
    scores: Sequence[float],
    pieces: Detokenizer,
    seconds: Callable[[int], float],
) -> tuple[Token, ...]:
    raw = zip(hypothesis.frames.tolist(), hypothesis.durations.tolist(), strict=True)
    return tuple(
        Token(token, pieces.piece(token), frame, duration, seconds(start), seconds(end), score)
        for token, (frame, duration), (start, end), score in zip(ids, raw, spans, scores, strict=True)
    )


def refined_spans(
    ids: Sequence[int], frames: Sequence[int], durations: Sequence[int], pieces: Detokenizer
) -> list[tuple[int, int]]:
    """Return start and end of each token in encoder frames (NeMo `_refine_timestamps_tdt`).

    A token whose whole text is a supported mark sits where the token before it ends: the model may emit it long after
    the word, over a silence.
    """
    spans: list[tuple[int, int]] = []
    for token, frame, duration in zip(ids, frames, durations, strict=True):
        if spans and pieces.alone(token) in pieces.punctuation:
            spans.append((spans[-1][1], spans[-1][1]))
        else:
            spans.append((frame, frame + duration))
    return spans


def group_words(ids: Sequence[int], spans: Sequence[tuple[int, int]], pieces: Detokenizer) -> list[_Span]:
    """Return the words over the tokens (NeMo `get_words_offsets` for BPE vocabularies).

    A word starts at a piece that begins one (`▁`), unless its text is a supported mark, which always attaches to the
    word in hand. The first word starts with the first token.
    """
    words: list[_Span] = []
    first = 0
    shown: list[int] = []  # the word's tokens that make its text

    def close(last: int) -> None:
        words.append(_Span(pieces.decode(shown), first, last, spans[first][0], spans[last][1]))

    for index, token in enumerate(ids):
        mark = pieces.alone(token) in pieces.punctuation
        if pieces.starts_word(token) and not mark and shown:
            close(index - 1)
            first, shown = index, []
        elif mark and shown and pieces.piece(shown[-1]) in {" ", "_", SPACE_SYMBOL}:
            shown.pop()
        shown.append(token)
    if shown:
        close(len(ids) - 1)
    return words


def group_segments(words: Sequence[_Span]) -> list[_Span]:
    """Return the segments over the words (NeMo `get_segment_offsets` without a gap threshold)."""
    segments: list[_Span] = []
    held: list[_Span] = []
    for word in words:
        held.append(word)
        if word.text[-1:] in SEGMENT_SEPARATORS:
            segments.append(_joined(held))
            held = []
    if held:
        segments.append(_joined(held))
    return segments


def _joined(words: Sequence[_Span]) -> _Span:
    first, last = words[0], words[-1]
    return _Span(" ".join(word.text for word in words), first.first, last.last, first.start, last.end)
