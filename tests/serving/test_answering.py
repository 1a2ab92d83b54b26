"""What is answered: OpenAI's forms by their fields, subtitles and text by the command line's renderers."""

from __future__ import annotations

import json
import zlib

import pytest

from tdt.serving.answering import answer, delta, done
from tdt.serving.asking import Ask
from tdt.text import FORMATS, Gap, Transcript, growing, merged

from .scripted import said

ONE = said("Hello world. Testing.")
TWO = said("One two.", 4.0)
SILENCE = Transcript("", (), (), (), 2.0)


def made(style: str, *parts: Transcript, **ask: object) -> dict[str, object]:
    found = answer(Ask(None, style, **ask), parts, 6.5)  # type: ignore[arg-type]
    assert found.media_type == "application/json"
    return json.loads(found.text)


def test_json() -> None:
    assert made("json", ONE, TWO) == {
        "text": "Hello world. Testing. One two.",
        "usage": {"type": "duration", "seconds": 6.5},
    }


def test_logprobs_stand_by_token() -> None:
    found = made("json", TWO, logprobs=True)["logprobs"]
    assert found == [
        {"token": " One", "logprob": -0.25, "bytes": [32, 79, 110, 101]},
        {"token": " two.", "logprob": -0.25, "bytes": [32, 116, 119, 111, 46]},
    ]


def test_verbose_json_holds_what_is_known_and_nothing_else() -> None:
    found = made("verbose_json", ONE, TWO, granularities=frozenset({"word", "segment"}))
    assert found.keys() == {"task", "language", "duration", "text", "gaps", "words", "segments", "usage"}
    assert (found["language"], found["duration"]) == ("und", 6.5)
    assert found["words"][0] == {"word": "Hello", "start": 0.0, "end": 0.4, "confidence": 0.9}
    raw = b"One two."
    assert found["segments"][1] == {
        "id": 1,
        "seek": 400,
        "start": 4.0,
        "end": 4.9,
        "text": "One two.",
        "tokens": [0, 1],
        "temperature": 0.0,
        "avg_logprob": -0.25,
        "compression_ratio": round(len(raw) / len(zlib.compress(raw)), 3),
    }


def test_skipped_speech_is_told_in_verbose_json_alone() -> None:
    """A part that tells of nothing else adds no text."""
    gap = Transcript("", (), (), (), 3.0, gaps=(Gap(1.5, 2.75),))
    found = made("verbose_json", ONE, gap, TWO)
    assert found["gaps"] == [{"start": 1.5, "end": 2.75}]
    assert found["text"] == "Hello world. Testing. One two."
    assert made("verbose_json", ONE)["gaps"] == []
    assert "gaps" not in made("json", ONE, gap)
    for style in ("text", "srt", "vtt"):
        assert answer(Ask(None, style), [ONE, gap, TWO], 6.5) == answer(Ask(None, style), [ONE, TWO], 6.5)


@pytest.mark.parametrize(("one", "other"), [("word", "segment"), ("segment", "word")])
def test_verbose_json_gives_the_granularity_that_was_asked_for(one: str, other: str) -> None:
    found = made("verbose_json", ONE, granularities=frozenset({one}))
    assert one + "s" in found
    assert other + "s" not in found


@pytest.mark.parametrize(("style", "ours"), [("text", "txt"), ("srt", "srt"), ("vtt", "vtt")])
def test_text_and_subtitles_are_the_command_lines(style: str, ours: str) -> None:
    found = answer(Ask(None, style), [ONE], ONE.audio_seconds)
    assert found.text == FORMATS[ours](ONE)
    assert "json" not in found.media_type
    writer = growing(ours, "")
    running = writer.begin() + writer.add(ONE) + writer.add(TWO) + writer.close(6.5)
    assert answer(Ask(None, style), [ONE, TWO], 6.5).text == running


@pytest.mark.parametrize("style", ["json", "verbose_json", "text", "srt", "vtt"])
def test_silence_is_an_answer(style: str) -> None:
    assert answer(Ask(None, style), [SILENCE], 2.0).text or style == "srt"  # which has no header
    assert answer(Ask(None, style), [], 2.0).text == answer(Ask(None, style), [SILENCE], 2.0).text


def events(*texts: str) -> list[dict[str, object]]:
    for text in texts:
        assert text.startswith("event: transcript.text.")
        assert text.endswith("\n\n")
        assert text.count("\n") == 3
    return [json.loads(text.split("data: ", 1)[1]) for text in texts]


def test_deltas_joined_are_the_text() -> None:
    found = events(delta(ONE, first=True, logprobs=False), delta(TWO, first=False, logprobs=True),
                   done([ONE, TWO], 6.5, logprobs=True))  # fmt: skip
    assert "".join(str(one["delta"]) for one in found[:2]) == found[2]["text"] == merged([ONE, TWO]).text
    assert "logprobs" not in found[0]
    assert len(found[1]["logprobs"]) == 2
    assert len(found[2]["logprobs"]) == 5
