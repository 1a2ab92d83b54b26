"""The protocol over a scripted engine: every answer, every refusal, what the log holds."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

import pytest

from tdt import errors
from tdt.serving.app import routes
from tdt.serving.asking import FIELDS
from tdt.serving.describing import description
from tdt.serving.refusing import STATUSES, TABLE, UNEXPECTED
from tdt.text import FORMATS

from .scripted import PATH, SOUND, ScriptedEngine, client_of, said

ONE, TWO = said("Hello world. Testing."), said("One two.", 4.0)


def post(client: Any, files: Any = SOUND, **data: Any) -> Any:
    return client.post(PATH, files=files, data=data)


def assert_refused(answer: Any, status: int, code: str) -> str:
    """Check an error by OpenAI's shape; return its message."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert error["message"]
    return str(error["message"])


# --- answers ----------------------------------------------------------------------------------------------------------


def test_a_file_becomes_json() -> None:
    client, engine = client_of(ONE, TWO)
    with client:
        answer = post(client)
    assert answer.status_code == 200
    assert answer.json()["text"] == "Hello world. Testing. One two."
    assert engine.heard == [b"sound"]
    assert engine.asked == [{"phrases": None, "name": "The upload"}]
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])


@pytest.mark.parametrize("style", ["text", "srt", "vtt"])
def test_text_and_subtitles(style: str) -> None:
    client, _ = client_of(ONE)
    with client:
        answer = post(client, response_format=style)
    assert answer.text == FORMATS["txt" if style == "text" else style](ONE)
    assert not answer.headers["content-type"].startswith("application/json")


def test_hotwords_become_phrases_and_fields_without_effect_are_told() -> None:
    client, engine = client_of(ONE)
    with client:
        answer = post(client, hotwords="Ramipril, Weiß", language="de", prompt="no secret")
    assert engine.asked[0]["phrases"] == ["Ramipril", "Weiß"]
    assert answer.headers["x-without-effect"] == "language, prompt"


def test_a_stream_of_events() -> None:
    client, _ = client_of(ONE, None, TWO)
    with client:
        answer = post(client, stream="true")
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = [json.loads(line[6:]) for line in answer.text.split("\n") if line.startswith("data: ")]
    assert [one["type"] for one in found] == ["transcript.text.delta"] * 2 + ["transcript.text.done"]
    assert "".join(one["delta"] for one in found[:2]) == found[2]["text"]


def test_an_error_amid_a_stream_is_an_event_and_one_before_it_an_answer() -> None:
    broken = errors.AudioTailError("The upload", 4.0, "cut")
    client, _ = client_of(ONE, broken)
    with client:
        found = post(client, stream="true").text.split("\n\n")
    assert "transcript.text.delta" in found[0]
    assert json.loads(found[1].split("data: ")[1])["error"]["code"] == "audio_breaks_off"
    client, _ = client_of(broken)
    with client:
        assert_refused(post(client, stream="true"), 400, "audio_breaks_off")


def test_a_stream_of_silence() -> None:
    client, _ = client_of(None)
    with client:
        assert '"text": ""' in post(client, stream="true").text


def test_models_health_metrics_and_the_description() -> None:
    client, engine = client_of(model="parakeet-tdt-0.6b-v3", provider="cuda:0")
    with client:
        listed = client.get("/v1/models").json()
        assert (listed["object"], listed["data"][0]["id"]) == ("list", "parakeet-tdt-0.6b-v3")
        found = client.get("/health")
        assert found.json() == {"status": "ok", "model": "parakeet-tdt-0.6b-v3", "provider": "cuda:0"}
        assert 'tdt_requests_total{status="200"} 2' in client.get("/metrics").text
        assert client.get("/openapi.json").json() == description(engine.settings)
        engine.healthy = False
        assert_refused(client.get("/health"), 503, "server_closing")


def test_the_description_has_every_route_and_field() -> None:
    engine = ScriptedEngine()
    found = description(engine.settings)
    own = {route.path for route in routes(engine, engine.settings) if getattr(route, "methods", None)}  # type: ignore[attr-defined,arg-type]
    assert {path for path in own if path.startswith(("/v1/", "/health", "/metrics", "/openapi"))} == set(found["paths"])
    form = found["paths"][PATH]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert {name.removesuffix("[]") for name in form} == {n for n, field in FIELDS.items() if field.effect != "refused"}


# --- refusals ---------------------------------------------------------------------------------------------------------


def example(kind: type[BaseException]) -> BaseException:
    """Return an error of a class of the table."""
    made: dict[Any, Any] = {
        errors.OptionError: lambda: errors.OptionError("phrases", "x", "phrases"),
        errors.AudioTailError: lambda: errors.AudioTailError("The upload", 3.0, "cut"),
        errors.AudioTooShortError: lambda: errors.AudioTooShortError("The upload", 3, 16000),
        errors.RecordingTooLongError: lambda: errors.RecordingTooLongError(3.0),
        errors.RequestTimeoutError: lambda: errors.RequestTimeoutError(3.0),
        errors.DeviceMemoryError: lambda: errors.DeviceMemoryError("A batch", "cuda:0", 1, 2, 3),
        errors.QueueFullError: lambda: errors.QueueFullError(64, 7),
        errors.ServerClosedError: errors.ServerClosedError,
    }
    return made[kind]() if kind in made else kind("something went wrong")


# What the engine raises; the others are provoked by requests below.
RAISED = [
    errors.OptionError, errors.AudioError, errors.AudioTailError, errors.AudioTooShortError, errors.AudioTooLongError,
    errors.AudioValueError, errors.RecordingTooLongError, errors.QueueFullError, errors.ServerClosedError,
    errors.RequestTimeoutError, errors.DeviceMemoryError, errors.DecodingError, errors.TdtError,
]  # fmt: skip


@pytest.mark.parametrize("kind", RAISED)
def test_what_the_engine_raises_is_answered_by_the_table(kind: type[BaseException]) -> None:
    error, expected = example(kind), TABLE[kind]
    client, engine = client_of(error)
    with client:
        answer = post(client)
        counted = engine.metrics.value("tdt_refusals_total", expected.code)
    assert assert_refused(answer, expected.status, expected.code) == str(error)
    assert answer.json()["error"]["type"] == expected.kind
    assert answer.headers["x-should-retry"] == str(expected.again).lower()
    assert ("retry-after" in answer.headers) == (expected.again and expected.status in {429, 503})
    assert counted == 1
    if kind is errors.QueueFullError:
        assert answer.headers["retry-after"] == "7"
    if issubclass(kind, errors.AudioError):
        assert answer.json()["error"]["param"] == "file"


def test_no_place_is_told_before_the_body_is_read() -> None:
    client, engine = client_of(ONE, queue=1)
    with client:
        engine.admission.under_way = 1
        assert_refused(post(client), 429, "queue_full")
    assert engine.heard == []


PROVOKED = {
    errors.FieldError: (SOUND, {"temperature": "1"}),
    errors.NoSuchModelError: (SOUND, {"model": "another"}),
}


@pytest.mark.parametrize("kind", PROVOKED)
def test_forms_that_cannot_be_honoured(kind: type[BaseException]) -> None:
    files, data = PROVOKED[kind]
    client, engine = client_of(ONE)
    with client:
        answer = client.post(PATH, files=files, data=data)
    assert_refused(answer, TABLE[kind].status, TABLE[kind].code)
    assert answer.json()["error"]["param"] == next(iter(data))
    assert engine.heard == []


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{}", "application/json"),
        (b"file=sound", "application/x-www-form-urlencoded"),
        (b"sound", "audio/flac"),
        (b"sound", ""),
        (b"no boundary", "multipart/form-data"),
        (b"not a part", "multipart/form-data; boundary=x"),
        (b"--x\r\nContent-Disposition: form-data\r\n\r\nno name\r\n--x--\r\n", "multipart/form-data; boundary=x"),
        (b"--x\r\n\xff\xfe: 1\r\n\r\n\r\n--x--\r\n", "multipart/form-data; boundary=x"),
        (b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' * 100 + b"--x--\r\n",
         "multipart/form-data; boundary=x"),
        (b"", "multipart/form-data; boundary=" + "x" * 5000),
    ],
)  # fmt: skip
def test_bodies_that_are_no_form(body: bytes, content_type: str) -> None:
    client, engine = client_of(ONE)
    with client:
        answer = client.post(PATH, content=body, headers={"content-type": content_type})
    assert_refused(answer, 400, TABLE[errors.FormError].code)
    assert engine.heard == []


def test_an_upload_that_is_too_large_is_refused_by_its_declared_length_and_while_it_comes() -> None:
    client, engine = client_of(ONE, max_mb=0.5)
    large = {"file": ("a.wav", b"\0" * 900_000)}
    with client:
        assert "0.5 MB" in assert_refused(post(client, large), 413, TABLE[errors.UploadTooLargeError].code)

        def chunks() -> Any:
            yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
            for _ in range(1000):
                yield b"\0" * 1000

        answer = client.post(PATH, content=chunks(), headers={"content-type": "multipart/form-data; boundary=x"})
        assert_refused(answer, 413, "upload_too_large")
        assert post(client, {"file": ("a.wav", b"\0" * 400_000)}).status_code == 200
    assert list(map(len, engine.heard)) == [400_000]


def test_two_files_are_one_too_many() -> None:
    client, _ = client_of(ONE)
    with client:
        answer = client.post(PATH, files=[("file", ("a", b"1")), ("file", ("b", b"2"))])
    assert_refused(answer, 400, "invalid_form")


def test_keys_guard_the_interface_and_not_the_health() -> None:
    client, engine = client_of(ONE, api_keys=("secret",))
    with client:
        for answer in (post(client), client.get("/v1/models"), client.get("/metrics")):
            message = assert_refused(answer, 401, TABLE[errors.UnauthorizedError].code)
            assert answer.headers["www-authenticate"] == "Bearer"
            assert "secret" not in message
        assert engine.heard == []
        assert client.get("/health").status_code == 200
        assert client.post(PATH, files=SOUND, headers={"authorization": "Bearer secret"}).status_code == 200
        assert client.get("/openapi.json").json()["paths"][PATH]["post"]["security"] == [{"key": []}]


def test_translations_are_not_offered() -> None:
    client, _ = client_of(ONE)
    with client:
        answer = client.post("/v1/audio/translations", files=SOUND)
    message = assert_refused(answer, 501, TABLE[errors.NotOfferedError].code)
    assert "language in which it is said" in message
    assert answer.headers["x-should-retry"] == "false"


def test_paths_and_methods_that_are_none() -> None:
    client, _ = client_of(ONE)
    with client:
        assert_refused(client.get("/v1/nothing"), 404, STATUSES[404].code)
        answer = client.get(PATH)
        assert_refused(answer, 405, STATUSES[405].code)
        assert answer.headers["allow"] == "POST"


def test_what_nobody_foresaw_is_not_told_to_strangers(caplog: pytest.LogCaptureFixture) -> None:
    client, _ = client_of(ZeroDivisionError("what was said: a secret"))
    with caplog.at_level(logging.INFO, "tdt.serving"), client:
        answer = post(client)
    assert assert_refused(answer, 500, STATUSES[500].code) == UNEXPECTED
    assert "secret" not in caplog.text
    assert answer.headers["x-request-id"] in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_every_row_of_the_table_is_provoked_by_a_test() -> None:
    elsewhere = {errors.UploadTimeoutError: "test_server.py: a client that sends one byte a second"}
    here = {
        *RAISED, *PROVOKED, errors.FormError, errors.UploadTooLargeError, errors.UnauthorizedError,
        errors.NotOfferedError, *elsewhere,
    }  # fmt: skip
    assert here == set(TABLE)
    codes = [row.code for row in TABLE.values()]
    assert len(set(codes)) == len(codes)


# --- the log ----------------------------------------------------------------------------------------------------------


def test_the_log_has_ids_and_statuses_and_never_what_was_said(caplog: pytest.LogCaptureFixture) -> None:
    client, _ = client_of(ONE)
    with caplog.at_level(logging.DEBUG, "tdt"), client:
        first = post(client, model="whisper-1", hotwords="Ramipril", prompt="a secret")
        second = post(client, {"file": ("secret name.wav", b"x")}, response_format="no")
        client.get("/not%0Athere")
    lines = [record.getMessage() for record in caplog.records if record.name == "tdt.serving"]
    assert any(first.headers["x-request-id"] in line and "whisper-1" in line for line in lines)
    assert any(first.headers["x-request-id"] in line and " 200 " in line for line in lines)
    assert any(second.headers["x-request-id"] in line and "invalid_field" in line for line in lines)
    text = "\n".join(lines)
    assert "\nthere" not in text
    for secret in ("Hello", "Testing", "Ramipril", "secret", "sound"):
        assert secret not in text
