"""What a request is answered: transcripts in OpenAI's forms, or as text and subtitles in the command line's very bytes.

Pure: parts of a transcript in, text out. What the model does not know is left out or says so, and is never made up.
"""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

from tdt.text import growing, merged, rounded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.serving.asking import Ask
    from tdt.text import Segment, Transcript, Word

# ISO 639-2 for a language that has not been determined: the model hears many and does not tell which.
UNDETERMINED = "und"
_MEDIA = {
    "text": "text/plain; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
}
JSON = "application/json"
EVENTS = "text/event-stream; charset=utf-8"
_STYLES = {"text": "txt", "srt": "srt", "vtt": "vtt"}
_SPACE = "▁"


class Answer(NamedTuple):
    """A body and what it is."""

    media_type: str
    text: str


def answer(ask: Ask, parts: Sequence[Transcript], audio_seconds: float) -> Answer:
    """Return the answer to a request.

    Parameters
    ----------
    ask : Ask
    parts : sequence of Transcript
        What became final, in order; one for a short recording.
    audio_seconds : float
        Length of the recording.
    """
    if ask.response_format in _STYLES:
        writer = growing(_STYLES[ask.response_format], "")
        text = writer.begin() + "".join([writer.add(part) for part in parts]) + writer.close(audio_seconds)
        return Answer(_MEDIA[ask.response_format], text)
    whole = merged(parts, audio_seconds)
    made = _verbose(whole, ask.granularities) if ask.response_format == "verbose_json" else _plain(whole, ask)
    made["usage"] = {"type": "duration", "seconds": rounded(audio_seconds)}
    return Answer(JSON, as_json(made))


def delta(part: Transcript, *, first: bool, logprobs: bool) -> str:
    """Return the event of a part that has become final; the texts of all, joined, are the text of the whole."""
    made: dict[str, Any] = {"type": "transcript.text.delta", "delta": part.text if first else " " + part.text}
    return event(made | ({"logprobs": token_logprobs(part)} if logprobs else {}))


def done(parts: Sequence[Transcript], audio_seconds: float, *, logprobs: bool) -> str:
    """Return the event that ends a stream."""
    whole = merged(parts, audio_seconds)
    made: dict[str, Any] = {"type": "transcript.text.done", "text": whole.text}
    return event(made | ({"logprobs": token_logprobs(whole)} if logprobs else {}))


def event(made: dict[str, Any]) -> str:
    """Return an object as a server-sent event."""
    kind = f"event: {made['type']}\n" if "type" in made else ""
    return f"{kind}data: {as_json(made)}\n\n"


def as_json(made: Any) -> str:
    """Return an object as JSON."""
    return json.dumps(made, ensure_ascii=False, allow_nan=False)


def token_logprobs(transcript: Transcript) -> list[dict[str, Any]]:
    """Return each token with its log-probability and its bytes."""
    texts = [token.piece.replace(_SPACE, " ") for token in transcript.tokens]
    return [
        {"token": text, "logprob": round(value, 6), "bytes": list(text.encode())}
        for text, value in zip(texts, transcript.logprobs, strict=True)
    ]


def timed(word: Word) -> dict[str, Any]:
    """Return a word with its times, in seconds, and its confidence."""
    made: dict[str, Any] = rounded(
        {"word": word.text, "start": word.start, "end": word.end, "confidence": word.confidence}
    )
    return made


def _plain(whole: Transcript, ask: Ask) -> dict[str, Any]:
    return {"text": whole.text, **({"logprobs": token_logprobs(whole)} if ask.logprobs else {})}


def _verbose(whole: Transcript, granularities: frozenset[str]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "task": "transcribe",
        "language": UNDETERMINED,
        "duration": rounded(whole.audio_seconds),
        "text": whole.text,
        "gaps": [rounded({"start": gap.start, "end": gap.end}) for gap in whole.gaps],
    }
    if "word" in granularities:
        made["words"] = [timed(word) | ({"boosted": True} if word.boosted else {}) for word in whole.words]
    if "segment" in granularities:
        first = 0
        made["segments"] = []
        for number, (segment, size) in enumerate(zip(whole.segments, whole.segment_sizes, strict=True)):
            made["segments"].append(_segment(number, segment, whole, slice(first, first + size)))
            first += size
    return made


def _segment(number: int, segment: Segment, whole: Transcript, tokens: slice) -> dict[str, Any]:
    """Return a segment; `no_speech_prob` is left out, since nothing here computes it."""
    raw = segment.text.encode()
    values = whole.logprobs[tokens]
    return {
        "id": number,
        "seek": max(0, round(segment.start * 100)),
        "start": rounded(segment.start),
        "end": rounded(segment.end),
        "text": segment.text,
        "tokens": [token.id for token in whole.tokens[tokens]],
        "temperature": 0.0,
        "avg_logprob": round(sum(values) / max(1, len(values)), 6),
        "compression_ratio": rounded(len(raw) / len(zlib.compress(raw))),
    }
