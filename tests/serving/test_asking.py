"""The form's fields: each honoured, without effect, or refused with a sentence that names it."""

from __future__ import annotations

from typing import Any

import pytest

from tdt.errors import FieldError, NoSuchModelError
from tdt.serving.asking import FIELDS, FORMATS, Ask, ask_of

FILE = object()
LOADED = "parakeet-tdt-0.6b-v3"


def ask(*fields: tuple[str, Any]) -> Ask:
    return ask_of([("file", FILE), *fields], LOADED)


def test_a_file_alone_is_a_request() -> None:
    assert ask() == Ask(FILE)


@pytest.mark.parametrize("style", FORMATS)
def test_formats(style: str) -> None:
    assert ask(("response_format", style)).response_format == style


@pytest.mark.parametrize(
    ("name", "alias"),
    [
        (LOADED, ""),
        ("nvidia/" + LOADED, ""),
        ("whisper-1", "whisper-1"),
        ("gpt-4o-transcribe", "gpt-4o-transcribe"),
        ("gpt-4o-mini-transcribe-2025-12-15", "gpt-4o-mini-transcribe-2025-12-15"),
    ],
)
def test_models_by_their_name_and_by_openais(name: str, alias: str) -> None:
    assert ask(("model", name)).alias == alias


@pytest.mark.parametrize("name", ["whisper-2", "gpt-4o-transcribe-diarize", "", "../secret", "x" * 5000])
def test_another_model_is_not_there(name: str) -> None:
    with pytest.raises(NoSuchModelError, match="not loaded here") as caught:
        ask(("model", name))
    assert len(str(caught.value)) < 300


def test_granularities() -> None:
    verbose = ("response_format", "verbose_json")
    both = ask(verbose, ("timestamp_granularities[]", "word"), ("timestamp_granularities[]", "segment"))
    assert both.granularities == {"word", "segment"}
    assert ask(verbose, ("timestamp_granularities", "word")).granularities == {"word"}
    assert ask(verbose).granularities == {"segment"}


def test_hotwords_with_commas_lines_and_repetition() -> None:
    made = ask(("hotwords", "Amlodipin, Ramipril\r\n\nDr. Weiß"), ("hotwords[]", " Köln "))
    assert made.hotwords == ("Amlodipin", "Ramipril", "Dr. Weiß", "Köln")


@pytest.mark.parametrize("value", ["0", "0.0", "0.", ".0", "-0", "+0.00"])
def test_a_temperature_of_zero(value: str) -> None:
    assert ask(("temperature", value)) == Ask(FILE)


@pytest.mark.parametrize("value", ["true", "True", "1"])
def test_a_stream(value: str) -> None:
    assert ask(("stream", value)).stream
    assert ask(("stream", value), ("response_format", "text")).stream


def test_what_has_no_effect_is_told() -> None:
    given = [(name, "x") for name, field in FIELDS.items() if field.effect == "without effect"]
    assert ask(*given).without_effect == tuple(name for name, _ in given)
    assert given


REFUSED = [
    [("response_format", "diarized_json")],
    [("response_format", "JSON")],
    [("stream", "yes")],
    [("stream", "true"), ("response_format", "srt")],
    [("stream", "true"), ("response_format", "verbose_json")],
    [("temperature", "0.2")],
    [("temperature", "nan")],
    [("temperature", "")],
    [("temperature", ".")],
    [("timestamp_granularities[]", "word")],
    [("timestamp_granularities[]", "letter"), ("response_format", "verbose_json")],
    [("include[]", "logprobs"), ("response_format", "text")],
    [("include[]", "usage")],
    [("hotwords", ",".join(["a"] * 1001))],
    [("known_speaker_names[]", "Ann")],
    [("known_speaker_references[]", "data:…")],
    [("vad_filter", "true")],
    [("language[]", "de")],
    [("model", "whisper-1"), ("model", "whisper-1")],
    [("file", ...)],
    [("prompt", ...)],
    [("x" * 3000, "1")],
]


@pytest.mark.parametrize("fields", REFUSED, ids=lambda fields: "+".join(f"{n}={v}"[:40] for n, v in fields))
def test_refusals_name_the_field_and_what_was_expected(fields: list[tuple[str, Any]]) -> None:
    with pytest.raises(FieldError, match="expected") as caught:
        ask(*fields)
    assert caught.value.field
    assert caught.value.field.rstrip("…") in fields[0][0] or caught.value.field in fields[-1][0]
    assert len(str(caught.value)) < 400


def test_a_missing_file_and_one_that_is_a_text() -> None:
    with pytest.raises(FieldError, match="'file' is missing"):
        ask_of([("model", LOADED)], LOADED)
    with pytest.raises(FieldError, match="'file' is a text"):
        ask_of([("file", "http://169.254.169.254/latest")], LOADED)
