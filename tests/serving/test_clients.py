"""OpenAI's own client against the server: every format, granularity and stream, without a warning."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import openai
import pytest

import tdt
from tdt.commands import main
from tdt.text import FORMATS

from .serving import HELLO, RECORDINGS, TEXT, Served, served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE = RECORDINGS / "15_hello_world.flac"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text("sesame\n")
    with served("--api-key-file", str(keys), "--max-mb", "1") as found:
        yield found


@pytest.fixture
def client(server: Served) -> Iterator[openai.OpenAI]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with openai.OpenAI(base_url=server.url + "/v1", api_key="sesame", max_retries=0) as found:
            yield found


@pytest.fixture(scope="module")
def transcript() -> tdt.Transcript:
    with tdt.load() as asr:
        return asr.transcribe(FILE)


def create(client: openai.OpenAI, **options: Any) -> Any:
    with FILE.open("rb") as file:
        return client.audio.transcriptions.create(**{"file": file, "model": "whisper-1", **options})


def test_json(client: openai.OpenAI) -> None:
    found = create(client)
    assert found.text == TEXT
    assert found.usage.seconds == 4.025
    assert found.logprobs is None
    assert found.model_dump()["text"] == TEXT


def test_logprobs(client: openai.OpenAI) -> None:
    found = create(client, model="gpt-4o-transcribe", include=["logprobs"])
    assert "".join(one.token for one in found.logprobs).strip() == TEXT
    assert all(-5 < one.logprob <= 0 for one in found.logprobs)
    assert all(bytes(int(number) for number in one.bytes).decode() == one.token for one in found.logprobs)


@pytest.mark.parametrize(("style", "ours"), [("text", "txt"), ("srt", "srt"), ("vtt", "vtt")])
def test_text_and_subtitles_are_the_command_lines_bytes(
    client: openai.OpenAI, style: str, ours: str, tmp_path: Path, transcript: tdt.Transcript
) -> None:
    found = create(client, response_format=style)
    assert found == FORMATS[ours](transcript)
    assert main(["transcribe", str(FILE), "--format", ours, "-o", str(tmp_path)]) == 0
    assert found == (tmp_path / f"{FILE.stem}.{ours}").read_text()


@pytest.mark.parametrize("granularities", [None, ["word"], ["segment"], ["word", "segment"]])
def test_verbose_json(client: openai.OpenAI, granularities: list[str] | None, transcript: tdt.Transcript) -> None:
    options = {} if granularities is None else {"timestamp_granularities": granularities}
    found = create(client, response_format="verbose_json", **options)
    wanted = granularities or ["segment"]
    assert (found.text, found.duration, found.language) == (TEXT, 4.025, "und")
    assert (found.words is not None) == ("word" in wanted)
    assert (found.segments is not None) == ("segment" in wanted)
    for word, ours in zip(found.words or (), transcript.words, strict=found.words is not None):
        assert (word.word, word.start, word.end) == (ours.text, round(ours.start, 3), round(ours.end, 3))
    for segment, ours in zip(found.segments or (), transcript.segments, strict=found.segments is not None):
        assert (segment.text, segment.start, segment.end) == (ours.text, round(ours.start, 3), round(ours.end, 3))
        assert segment.temperature == 0
        assert segment.avg_logprob < 0
    assert found.model_dump(warnings="error", exclude_none=True)["text"] == TEXT
    assert json.loads(found.to_json())["duration"] == found.duration


@pytest.mark.parametrize("style", ["json", "text"])
def test_a_stream(client: openai.OpenAI, style: str) -> None:
    events = list(create(client, stream=True, response_format=style, include=["logprobs"] if style == "json" else []))
    assert [event.type for event in events] == ["transcript.text.delta", "transcript.text.done"]
    assert events[0].delta == events[1].text == TEXT
    assert (events[1].logprobs is not None) == (style == "json")


def test_further_fields(client: openai.OpenAI) -> None:
    found = create(client, language="en", prompt="Greetings", temperature=0, extra_body={"hotwords": "Hello, world"})
    assert found.text == TEXT
    raw = client.audio.transcriptions.with_raw_response.create(file=("a.flac", HELLO), model="whisper-1", language="en")
    assert raw.headers["x-without-effect"] == "language"
    assert raw.parse().text == TEXT


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["parakeet-tdt-tiny"]


@pytest.mark.parametrize(
    ("options", "kind", "code"),
    [
        ({"file": ("a.flac", b"no sound")}, openai.BadRequestError, "audio_unreadable"),
        ({"file": ("a.flac", HELLO[:300])}, openai.BadRequestError, "audio_unreadable"),
        ({"temperature": 0.5}, openai.BadRequestError, "invalid_field"),
        ({"model": "other"}, openai.NotFoundError, "model_not_found"),
        ({"file": ("a.flac", b"\0" * 3_000_000)}, openai.APIStatusError, "upload_too_large"),
    ],
)
def test_errors_have_their_kinds(
    client: openai.OpenAI, options: dict[str, Any], kind: type[openai.APIStatusError], code: str
) -> None:
    with pytest.raises(kind) as caught:
        create(client, **options)
    assert caught.value.code == code
    assert caught.value.request_id


def test_translations_and_keys(client: openai.OpenAI, server: Served) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # OpenAI gives translations up
        with pytest.raises(openai.InternalServerError) as caught:
            client.audio.translations.create(file=("a.flac", HELLO), model="whisper-1")
    assert caught.value.status_code == 501
    stranger = openai.OpenAI(base_url=server.url + "/v1", api_key="open", max_retries=0)
    with stranger, pytest.raises(openai.AuthenticationError):
        create(stranger)
