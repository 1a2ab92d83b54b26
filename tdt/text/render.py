"""Transcripts as plain text, JSON lines and subtitles: pure functions, no files."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

from tdt.text.subtitles import Cue, cues

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.text.transcript import Transcript, Word


VTT_HEADER = "WEBVTT\n"


class Renderer(Protocol):
    """Turns a transcript into text that ends with a newline; `file` names its source."""

    def __call__(self, transcript: Transcript, *, file: str = "") -> str:
        """Render one transcript."""
        ...


def as_txt(transcript: Transcript, *, file: str = "") -> str:  # noqa: ARG001
    """Return the text on one line."""
    return transcript.text + "\n"


def as_dict(transcript: Transcript, *, file: str = "") -> dict[str, Any]:
    """Return what :func:`as_json` writes: seconds and confidences rounded to 3 digits."""
    return {
        "file": readable_name(file),
        "text": transcript.text,
        "audio_seconds": rounded(transcript.audio_seconds),
        "tokens": [rounded(asdict(token)) for token in transcript.tokens],
        "words": [_word(word) for word in transcript.words],
        "segments": [rounded(asdict(segment)) for segment in transcript.segments],
        "gaps": [rounded(asdict(gap)) for gap in transcript.gaps],
        **({"candidates": [rounded(asdict(one)) for one in transcript.candidates]} if transcript.candidates else {}),
    }


def _word(word: Word) -> dict[str, Any]:
    """Return a word's fields; `boosted` only where it is, so that nothing is there that was not asked for."""
    known: dict[str, Any] = rounded(asdict(word))
    if not known["boosted"]:
        del known["boosted"]
    return known


def as_json(transcript: Transcript, *, file: str = "") -> str:
    """Return one JSON object on one line.

    Keys: `file, text, audio_seconds, tokens[{id, piece, frame, duration, start, end, confidence}],
    words[{text, start, end, confidence}], segments[{text, start, end}], gaps[{start, end}]`, a word also with
    `boosted: true` where phrases or a language model chose it, and with a beam `candidates[{text, score}]`;
    `frame` and `duration` count encoder frames, `start` and `end` are seconds.
    """
    return json.dumps(as_dict(transcript, file=file), ensure_ascii=False, allow_nan=False) + "\n"


def readable_name(file: str) -> str:
    r"""Return a file name that any UTF-8 stream can carry: bytes of it that are no UTF-8 stand as `\xNN`.

    Examples
    --------
    >>> readable_name("caf\udce9.wav")
    'caf\\xe9.wav'
    """
    try:
        raw = os.fsencode(file)  # such bytes reached Python as lone surrogates
    except UnicodeEncodeError:
        raw = file.encode("utf-8", "backslashreplace")
    return raw.decode("utf-8", "backslashreplace")


def as_srt(transcript: Transcript, *, file: str = "") -> str:  # noqa: ARG001
    """Return SubRip subtitles; empty for an empty transcript."""
    return "".join(srt_blocks(cues(transcript)))


def as_vtt(transcript: Transcript, *, file: str = "") -> str:  # noqa: ARG001
    """Return WebVTT subtitles; the header alone for an empty transcript."""
    return VTT_HEADER + "".join(vtt_blocks(cues(transcript)))


def srt_blocks(shown: Sequence[Cue], first: int = 1) -> list[str]:
    """Return a SubRip block for each cue, numbered from `first`."""
    return [
        f"{number}\n{_range(cue, ',')}\n{_escape_arrow(cue.text)}\n\n" for number, cue in enumerate(shown, start=first)
    ]


def vtt_blocks(shown: Sequence[Cue]) -> list[str]:
    """Return a WebVTT block for each cue, to follow the header."""
    return [f"\n{_range(cue, '.')}\n{_escape_markup(cue.text)}\n" for cue in shown]


FORMATS: dict[str, Renderer] = {"txt": as_txt, "json": as_json, "srt": as_srt, "vtt": as_vtt}


def timestamp(milliseconds: int, marker: str) -> str:
    """Return `HH:MM:SS` and milliseconds after `marker`; hours always stand, and may have more than two digits.

    Examples
    --------
    >>> timestamp(3_725_040, ",")
    '01:02:05,040'
    """
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{marker}{milliseconds:03d}"


def _range(cue: Cue, marker: str) -> str:
    return f"{timestamp(cue.start_ms, marker)} --> {timestamp(cue.end_ms, marker)}"


def _escape_arrow(text: str) -> str:
    return re.sub("--+>", "->", text)  # of any length: --->, with an arrow taken out, would hold one again


def _escape_markup(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def rounded(value: Any) -> Any:
    """Return a value for JSON: its floats, also those inside of it, to 3 digits."""
    if isinstance(value, float):
        return round(value, 3) + 0.0  # no -0.0
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, (list, tuple)) else value
