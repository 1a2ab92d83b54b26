"""Renderers: goldens of all four formats, and what every subtitle keeps."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdt.text.render import FORMATS, as_json, as_srt, as_txt, as_vtt, timestamp
from tdt.text.subtitles import CUE_MS, LINE_CHARACTERS, cues
from tdt.text.transcript import Gap, Segment, Token, Transcript, Word
from tdt.text.writers import GrowingSrt, GrowingVtt


def said(*words: tuple[str, float, float], audio_seconds: float = 100.0) -> Transcript:
    made = tuple(Word(text, start, end, 0.5) for text, start, end in words)
    text = " ".join(word.text for word in made)
    segments = (Segment(text, made[0].start, made[-1].end),) if made else ()
    return Transcript(text, (), made, segments, audio_seconds)


def evenly(text: str, step: float = 0.4) -> Transcript:
    return said(*((word, i * step, i * step + 0.3) for i, word in enumerate(text.split())))


HELLO = Transcript(
    text="Grüße, Welt.",
    tokens=(Token(7, "▁Grüße", 3, 2, 0.24, 0.4, 0.87654321), Token(9, ",", 5, 0, 0.4, 0.4, 1.0)),
    words=(Word("Grüße,", 0.24, 0.4, 0.87654321), Word("Welt.", 0.5600000000000001, 1.0, -0.0)),
    segments=(Segment("Grüße, Welt.", 0.24, 1.0),),
    audio_seconds=2.00001,
)
EMPTY = Transcript("", (), (), (), 1.0)


def test_txt() -> None:
    assert as_txt(HELLO) == "Grüße, Welt.\n"
    assert as_txt(EMPTY) == "\n"


def test_json_golden() -> None:
    assert as_json(HELLO, file="a/b.wav") == (
        '{"file": "a/b.wav", "text": "Grüße, Welt.", "audio_seconds": 2.0, "tokens": ['
        '{"id": 7, "piece": "▁Grüße", "frame": 3, "duration": 2, "start": 0.24, "end": 0.4, "confidence": 0.877}, '
        '{"id": 9, "piece": ",", "frame": 5, "duration": 0, "start": 0.4, "end": 0.4, "confidence": 1.0}], '
        '"words": [{"text": "Grüße,", "start": 0.24, "end": 0.4, "confidence": 0.877}, '
        '{"text": "Welt.", "start": 0.56, "end": 1.0, "confidence": 0.0}], '
        '"segments": [{"text": "Grüße, Welt.", "start": 0.24, "end": 1.0}], "gaps": []}\n'
    )
    assert json.loads(as_json(EMPTY, file="x")) == {
        "file": "x", "text": "", "audio_seconds": 1.0, "tokens": [], "words": [], "segments": [], "gaps": []
    }  # fmt: skip


def test_json_tells_gaps() -> None:
    told = json.loads(as_json(replace(HELLO, gaps=(Gap(0.0, 1.23456), Gap(1.5, 2.5)))))
    assert told["gaps"] == [{"start": 0.0, "end": 1.235}, {"start": 1.5, "end": 2.5}]


def test_json_survives_a_file_name_that_is_not_utf8() -> None:
    assert json.loads(as_json(EMPTY, file="\udcff.wav").encode())["file"] == r"\xff.wav"
    assert json.loads(as_json(EMPTY, file="grün\ud800.wav").encode())["file"] == r"grün\ud800.wav"


def test_srt_golden() -> None:
    assert as_srt(HELLO) == "1\n00:00:00,240 --> 00:00:01,240\nGrüße, Welt.\n\n"
    assert as_srt(EMPTY) == ""


def test_vtt_golden() -> None:
    assert as_vtt(HELLO) == "WEBVTT\n\n00:00:00.240 --> 00:00:01.240\nGrüße, Welt.\n"
    assert as_vtt(EMPTY) == "WEBVTT\n"


@pytest.mark.parametrize(
    ("ms", "shown"), [(0, "00:00:00,000"), (3599999, "00:59:59,999"), (360000000, "100:00:00,000")]
)
def test_timestamps(ms: int, shown: str) -> None:
    assert timestamp(ms, ",") == shown


def test_arrows_and_markup_in_text_do_not_break_the_file() -> None:
    transcript = said(("a-->b", 0.0, 1.0), ("<i>&", 1.0, 2.0))
    assert as_srt(transcript).splitlines()[2] == "a->b <i>&"
    assert as_vtt(transcript).splitlines()[3] == "a--&gt;b &lt;i&gt;&amp;"


def test_sentences_and_pauses_end_cues() -> None:
    transcript = said(("One.", 0.0, 0.5), ("Two", 0.6, 1.0), ("three", 3.0, 3.5))
    assert [(cue.start_ms, cue.end_ms, cue.text) for cue in cues(transcript)] == [
        (0, 600, "One."),  # short, drawn out up to the next
        (600, 1600, "Two"),  # drawn out to a second
        (3000, 4000, "three"),
    ]


def test_a_full_cue_is_cut_after_its_last_comma() -> None:
    text = "and so my fellow Americans who are here with us tonight, ask not what your country can do for you"
    first, second = cues(evenly(text, step=0.2))
    assert first.text.endswith("tonight,")
    assert second.text.startswith("ask not")


def test_lines_are_balanced() -> None:
    (cue,) = cues(evenly("one two three four five six seven eight nine ten", step=0.2))
    assert cue.text == "one two three four five\nsix seven eight nine ten"


def test_a_short_last_cue_stays_within_the_audio() -> None:
    (cue,) = cues(said(("Yes.", 1.0, 1.2), audio_seconds=1.5))
    assert cue.end_ms == 1500


@pytest.mark.parametrize("text", ["-->", "--->", "a ------> b", "---->-->"])
def test_no_text_reads_as_the_arrow_between_times(text: str) -> None:
    spoken = said((text, 1.0, 2.0))
    assert as_srt(spoken).count("-->") == as_vtt(spoken).count("-->") == 1


def test_a_text_of_a_mark_only_is_shown_for_some_time() -> None:
    (cue,) = cues(said((".", 1.0, 1.0), audio_seconds=1.0))
    assert (cue.start_ms, cue.end_ms) == (0, 1000)
    first, second = cues(said(("Yes.", 0.2, 0.9), (".", 1.0, 1.0), audio_seconds=1.0))
    assert (first.end_ms, second.start_ms, second.end_ms) == (1000, 1000, 1040)
    first, mark, last = cues(said(("Yes.", 0.2, 0.9), ("?", 2.0, 2.0), ("No.", 2.0, 2.5), audio_seconds=9.0))
    assert (mark.start_ms, mark.end_ms, last.start_ms) == (1200, 2000, 2000)


def test_a_mark_in_a_running_file_does_not_overlap_what_stands() -> None:
    parts = [said(("Yes.", 0.2, 0.9), audio_seconds=0.9), said((".", 0.9, 0.9), audio_seconds=0.9)]
    for kind, header in ((GrowingSrt, ""), (GrowingVtt, "WEBVTT\n")):
        writer = kind()
        text = writer.begin() + "".join(writer.add(part) for part in parts)
        times = re.findall(r"(\d\d)[,.](\d{3})", text)
        assert text.startswith(header)
        assert [int(seconds) * 1000 + int(millis) for seconds, millis in times] == [200, 900, 900, 940]


@st.composite
def transcripts(draw: st.DrawFn) -> Transcript:
    words, now = [], 0.0
    for _ in range(draw(st.integers(0, 40))):
        text = draw(st.text(alphabet="abc->.,?<& \n", max_size=100))
        start = now + draw(st.sampled_from([0.0, 0.08, 0.4, 2.0]))
        now = start + draw(st.sampled_from([0.0, 0.08, 0.32, 9.0]))
        words.append((text, start, now))
    return said(*words, audio_seconds=now)


@given(transcripts())
def test_every_subtitle_is_readable(transcript: Transcript) -> None:
    found = cues(transcript)
    for cue in found:
        lines = cue.text.split("\n")
        assert len(lines) <= 2
        assert all(0 < len(line) <= LINE_CHARACTERS for line in lines)
        assert cue.start_ms < cue.end_ms
        one_word = len(cue.text.split()) == 1
        assert one_word or cue.end_ms - cue.start_ms <= CUE_MS or "\n" not in cue.text
    assert all(before.end_ms <= after.start_ms for before, after in pairwise(found))
    said_text = re.sub(r"\s", "", "".join(word.text for word in transcript.words))
    assert re.sub(r"\s", "", "".join(cue.text for cue in found)) == said_text, "no word is lost"


@given(transcripts())
def test_every_format_of_any_transcript_is_well_formed(transcript: Transcript) -> None:
    rendered = {name: render(transcript, file="f") for name, render in FORMATS.items()}
    assert json.loads(rendered["json"])["text"] == transcript.text
    assert rendered["json"].count("\n") == 1
    count = len(cues(transcript))
    arrow = re.compile(r"^\d\d:\d\d:\d\d[.,]\d{3} --> \d\d:\d\d:\d\d[.,]\d{3}$", re.MULTILINE)
    for name in ("srt", "vtt"):
        assert rendered[name].count("-->") == len(arrow.findall(rendered[name])) == count
