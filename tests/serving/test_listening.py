"""What is said on the socket: message by message without one, then over the real one."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64encode
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

import tdt
from tdt.errors import AudioValueError, FieldError, UnauthorizedError
from tdt.live import LiveWord, Update
from tdt.serving import Settings
from tdt.serving import listening as module
from tdt.serving.admission import Admission
from tdt.serving.conversation import Conversation, Finish, Sound, Stage, Start, finished, told
from tdt.serving.listening import check_caller
from tdt.serving.live_session import LiveAsk, Progress
from tdt.serving.metrics import Metrics

from .running import PATIENCE, served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .running import Served

SAID = "Hello world. Testing one, two, three."
START = '{"rate": 16000, "format": "pcm16"}'
FINISH = '{"type": "finish"}'


def started(first: str = START) -> Conversation:
    conversation = Conversation()
    assert isinstance(conversation.take(first), Start)
    return conversation


# --- without a socket -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "ask"),
    [
        ("{}", LiveAsk(16000, "pcm16", 1, 2, ())),
        ('{"type": "start"}', LiveAsk()),
        (START, LiveAsk()),
        (
            '{"rate": 48000.0, "format": "float32", "channels": 2, "latency": 4, "phrases": ["a b"]}',
            LiveAsk(48000, "float32", 2, 4, ("a b",)),
        ),
    ],
)
def test_a_first_message_says_what_comes(first: str, ask: LiveAsk) -> None:
    conversation = Conversation()
    assert conversation.take(first) == Start(ask)
    assert conversation.stage is Stage.SPEAKING


def test_the_address_says_the_latency_unless_the_message_does() -> None:
    assert Conversation("1").take("{}") == Start(LiveAsk(latency=1))
    assert Conversation("1").take('{"latency": 4}') == Start(LiveAsk(latency=4))
    for wrong in ("3", "", "two", "1.0"):
        with pytest.raises(FieldError, match="latency"):
            Conversation(wrong).take("{}")


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ("", "message"), ("no json", "message"), ("[]", "message"), ("null", "message"), ("[" * 200_000, "message"),
        (" " * 300_000 + "{}", "message"), (b"\0\0", "message"), (FINISH, "type"), ('{"type": 7}', "type"),
        ('{"rate": 0}', "rate"), ('{"rate": true}', "rate"), ('{"rate": "16000"}', "rate"), ('{"rate": 1e99}', "rate"),
        ('{"rate": NaN}', "rate"), ('{"rate": Infinity}', "rate"), ('{"format": "mp3"}', "format"),
        ('{"format": ["pcm16"]}', "format"), ('{"channels": 9}', "channels"), ('{"channels": 1.5}', "channels"),
        ('{"latency": 3}', "latency"), ('{"latency": [1]}', "latency"), ('{"latency": true}', "latency"),
        ('{"phrases": "a"}', "phrases"), ('{"phrases": [""]}', "phrases"), ('{"phrases": [1]}', "phrases"),
        ('{"language": "en"}', "language"),
    ],
)  # fmt: skip
def test_a_first_message_that_cannot_be_used_is_refused_and_changes_nothing(message: str | bytes, field: str) -> None:
    conversation = Conversation()
    with pytest.raises(FieldError) as raised:
        conversation.take(message)
    assert raised.value.field == field
    assert isinstance(conversation.take(START), Start)


def test_samples_of_every_format_are_the_same_samples() -> None:
    values = np.array([0, 1, -1, 32767, -32768, 1234], "<i2")
    floats = values.astype("<f4") / 32768
    expected = floats.tolist()
    for first, block in (
        (START, values.tobytes()),
        ('{"format": "float32"}', floats.tobytes()),
        ('{"channels": 2}', np.repeat(values, 2).tobytes()),
        ('{"format": "float32", "channels": 3}', np.repeat(floats, 3).tobytes()),
    ):
        heard = started(first).take(block)
        assert isinstance(heard, Sound)
        assert heard.samples.dtype == np.float32
        np.testing.assert_allclose(heard.samples, expected, rtol=0, atol=1e-7)


def test_a_block_that_is_no_sound_is_refused_and_the_next_is_welcome() -> None:
    conversation = started('{"format": "float32", "channels": 2}')
    for block in (b"123", b"\0" * 12, np.array([np.nan, 0], "<f4").tobytes(), np.array([np.inf, 0], "<f4").tobytes()):
        with pytest.raises(AudioValueError):
            conversation.take(block)
    assert isinstance(conversation.take(bytes(16)), Sound)
    with pytest.raises(FieldError, match="1048576"):
        conversation.take(bytes((1 << 20) + 8))


def test_nothing_follows_the_finish() -> None:
    conversation = started()
    assert conversation.take(FINISH) == Finish()
    for message in (FINISH, START, b"\0\0", "{}"):
        with pytest.raises(FieldError):
            conversation.take(message)
    with pytest.raises(FieldError, match='"finish"'):
        started().take('{"type": "start"}')


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
FIELDS = st.sampled_from(["type", "rate", "format", "channels", "latency", "phrases", "other"])


@given(st.lists(st.binary(max_size=64) | st.text(max_size=64) | st.dictionaries(FIELDS, JSON_VALUES).map(json.dumps)))
def test_whatever_is_said_is_understood_or_refused_by_a_typed_error(messages: list[str | bytes]) -> None:
    conversation = Conversation()
    for message in messages:
        stage = conversation.stage
        try:
            conversation.take(message)
        except (FieldError, AudioValueError) as error:
            json.dumps(told(error))
            assert conversation.stage is stage


def test_what_is_told_is_json_with_short_numbers() -> None:
    word = LiveWord("one", 0.48000001, 0.72, 0.123456, settled=True)
    update = Update("partial", "one", " two", (word,), 0.48000001, 0.72, 1.92)
    assert told(update) == {
        "type": "partial", "final": "one", "draft": " two", "start": 0.48, "end": 0.72, "audio_seconds": 1.92,
        "words": [{"text": "one", "start": 0.48, "end": 0.72, "confidence": 0.123, "settled": True}],
    }  # fmt: skip
    progress = {"type": "heard", "audio_seconds": 1.92, "decoded_seconds": 0.96, "step_seconds": 0.012}
    assert told(Progress(1.92, 0.96, 0.01234)) == progress
    error = told(FieldError("rate", "is 0", "more"))
    assert (error["type"], error["fatal"], error["error"]["code"]) == ("error", False, "invalid_field")
    assert finished(None) == {"type": "finished", "text": "", "audio_seconds": 0.0}


# --- who may speak ----------------------------------------------------------------------------------------------------


def coded(key: str) -> str:
    return "key." + urlsafe_b64encode(key.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("keys", "headers", "offered", "welcome"),
    [
        ((), {}, [], True),
        ((), {"origin": "http://here:1", "host": "here:1"}, [], True),
        ((), {"origin": "https://elsewhere", "host": "here:1"}, [], False),
        ((), {"origin": "null", "host": "here:1"}, [], False),
        (("ab", "ü?>"), {}, [], False),
        (("ab", "ü?>"), {"authorization": "Bearer ab"}, [], True),
        (("ab", "ü?>"), {"authorization": "Bearer ab", "origin": "https://elsewhere", "host": "here"}, [], True),
        (("ab", "ü?>"), {}, ["tdt.v1", coded("ü?>")], True),
        (("ab", "ü?>"), {}, ["tdt.v1", coded("abc")], False),
        (("ab", "ü?>"), {}, ["key.", "key.é", "key.a", "key.____", "key.!"], False),
        ((), {"origin": "https://elsewhere", "host": "here"}, [coded("ab")], False),
    ],
)
def test_who_may_speak(keys: tuple[str, ...], headers: dict[str, str], offered: list[str], welcome: bool) -> None:
    admission = Admission(Settings(api_keys=keys), Metrics())
    if welcome:
        check_caller(admission, headers, offered, guarded=bool(keys))
    else:
        with pytest.raises(UnauthorizedError):
            check_caller(admission, headers, offered, guarded=bool(keys))


# --- over the real socket, with the real model ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served() as running:
        yield running


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    path = f"{tdt.__path__[0]}/models/recordings/15_hello_world.flac"
    return soundfile.read(path, dtype="int16")[0]


async def say(url: str, blocks: list[bytes], first: str = START, **options: Any) -> tuple[list[dict[str, Any]], int]:
    """Say something on a socket and return what was told, and the close code."""
    async with asyncio.timeout(PATIENCE), connect(url, **options) as socket:
        with suppress(ConnectionClosed):
            await socket.send(first)
        with suppress(ConnectionClosed):  # refused meanwhile
            for block in blocks:
                await socket.send(block)
            await socket.send(FINISH)
        found = [json.loads(message) async for message in _all(socket)]
    assert socket.close_code is not None
    return found, socket.close_code


async def _all(socket: Any) -> Any:
    with suppress(ConnectionClosed):
        async for message in socket:
            yield message


def pieces(samples: np.ndarray, size: int) -> list[bytes]:
    return [samples[at : at + size].tobytes() for at in range(0, len(samples), size)]


def alone(samples: np.ndarray, latency: int = 2, rate: int = 16000) -> list[dict[str, Any]]:
    with tdt.load() as asr:
        stream = asr.live(latency=latency, sample_rate=rate)
        return [told(update) for update in stream.push(samples) + stream.finish()]


def updates(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in found if one["type"] in {"speech", "partial", "final", "silence"}]


@pytest.mark.parametrize(("latency", "size"), [(2, 320), (1, 1600), (4, 100_000)])
def test_what_is_told_is_what_the_library_says(server: Served, clip: np.ndarray, latency: int, size: int) -> None:
    found, code = asyncio.run(say(f"{server.socket}?latency={latency}", pieces(clip, size)))
    assert code == 1000
    assert found[0]["type"] == "ready"
    assert found[0]["model"] == "parakeet-tdt-tiny"
    assert updates(found) == alone(clip, latency)
    assert found[-1] == {"type": "finished", "text": SAID, "audio_seconds": 4.025}
    heard = [one for one in found if one["type"] == "heard"]
    assert heard[-1]["decoded_seconds"] == 4.025
    assert all(one["step_seconds"] >= 0 for one in heard)


def test_other_rates_formats_and_channels(server: Served, clip: np.ndarray) -> None:
    stereo = np.repeat(clip.astype("<f4") / 32768, 2).reshape(-1, 2)
    found, code = asyncio.run(
        say(server.socket, pieces(stereo, 4096), '{"rate": 8000, "format": "float32", "channels": 2}')
    )
    assert code == 1000
    assert updates(found) == alone(clip, rate=8000)


def test_many_sockets_say_each_what_it_says_alone(server: Served, clip: np.ndarray) -> None:
    """Unlike recordings, blocks and latencies at the same time; they share steps."""
    cuts = [clip[: len(clip) - 3000 * n] for n in range(8)]
    expected = {(n, latency): alone(cut, latency) for n, cut in enumerate(cuts) for latency in (1 + n % 2,)}

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(
            *[say(f"{server.socket}?latency={1 + n % 2}", pieces(cut, 800 + 100 * n)) for n, cut in enumerate(cuts)]
        )

    for n, (found, code) in enumerate(asyncio.run(all_of_them())):
        assert code == 1000
        assert updates(found) == expected[n, 1 + n % 2]


def test_phrases_are_heard(server: Served, clip: np.ndarray) -> None:
    found, code = asyncio.run(say(server.socket, pieces(clip, 4000), '{"phrases": ["Hello world"]}'))
    assert (code, found[-1]["text"]) == (1000, SAID)
    found, code = asyncio.run(say(server.socket, [], '{"phrases": ["☃"]}'))
    assert (code, found[-1]["error"]["code"], found[-1]["fatal"]) == (4400, "invalid_value", True)


def test_what_cannot_be_used_is_told_and_closes_with_its_code(server: Served) -> None:
    for first in ("{", '{"rate": -1}', b"\0\0"):
        found, code = asyncio.run(say(server.socket, [], first))  # type: ignore[arg-type]
        assert (code, [one["type"] for one in found], found[0]["fatal"]) == (4400, ["error"], True)
    found, code = asyncio.run(say(f"{server.socket}?latency=9", []))
    assert code == 4400
    assert "latency" in found[0]["error"]["message"]


def test_a_refused_block_costs_that_block(server: Served, clip: np.ndarray) -> None:
    blocks = pieces(clip, 4000)
    found, code = asyncio.run(say(server.socket, [*blocks[:3], b"odd", *blocks[3:]]))
    errors = [one for one in found if one["type"] == "error"]
    assert [(one["error"]["code"], one["fatal"]) for one in errors] == [("audio_not_finite", False)]
    assert (code, found[-1]["text"]) == (1000, SAID)


def test_who_goes_away_frees_the_stream(server: Served, clip: np.ndarray) -> None:
    async def go(hard: bool) -> None:
        async with asyncio.timeout(PATIENCE), connect(server.socket) as socket:
            await socket.send(START)
            for block in pieces(clip, 1600)[:25]:
                await socket.send(block)
            await socket.recv()
            if hard:
                socket.transport.abort()

    for hard in (False, True):
        asyncio.run(go(hard))

    async def wait() -> None:
        async with asyncio.timeout(PATIENCE):
            while server.engine.live.sessions or len(server.engine.live._room):
                await asyncio.sleep(0.01)

    asyncio.run(wait())
    assert server.engine.metrics.value("tdt_live_streams", "websocket") == 0


def test_who_never_begins_is_sent_away(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "START_SECONDS", 0.05)

    async def wait() -> tuple[list[Any], int | None]:
        async with asyncio.timeout(PATIENCE), connect(server.socket) as socket:
            return [json.loads(message) async for message in _all(socket)], socket.close_code

    found, code = asyncio.run(wait())
    assert (code, found[0]["error"]["code"]) == (4503, "timeout")


def test_keys_of_sockets(clip: np.ndarray) -> None:
    with served(api_keys=("ab-cd", "other")) as guarded:
        found, code = asyncio.run(say(guarded.socket, []))
        assert (code, found[0]["error"]["code"]) == (4401, "invalid_api_key")
        options: dict[str, Any]
        for options in (
            {"additional_headers": {"Authorization": "Bearer ab-cd"}},
            {"subprotocols": ["tdt.v1", coded("ab-cd")]},
        ):
            found, code = asyncio.run(say(guarded.socket, pieces(clip, 4000), **options))
            assert (code, found[-1]["text"]) == (1000, SAID)


def test_a_thousand_idle_sockets_and_one_who_speaks(server: Served, clip: np.ndarray) -> None:
    async def test() -> tuple[list[Any], int]:
        idle = []
        for _ in range(20):
            idle += await asyncio.gather(*[connect(server.socket, compression=None) for _ in range(50)])
        try:
            await asyncio.gather(*[socket.send(START) for socket in idle])
            await asyncio.gather(*[socket.recv() for socket in idle])
            assert len(server.engine.live.sessions) == 1000
            return await say(server.socket, pieces(clip, 1600))
        finally:
            await asyncio.gather(*[socket.close() for socket in idle])

    found, code = asyncio.run(test())
    assert (code, updates(found)) == (1000, alone(clip))


def test_the_log_never_holds_what_was_said(server: Served, clip: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG", "tdt"), caplog.at_level("INFO", "uvicorn"):  # as `tdt serve` has them, and more
        asyncio.run(say(server.socket, pieces(clip, 4000)))
        asyncio.run(say(server.socket, [], '{"phrases": ["a secret \\u2603"]}'))
    ours = [record.getMessage() for record in caplog.records if record.name.startswith(("tdt", "uvicorn"))]
    assert any("refused" in line for line in ours)
    assert not any(word in line for line in ours for word in ("Hello", "world", "secret"))


def test_a_message_that_is_too_long_closes_the_socket(server: Served) -> None:
    found, code = asyncio.run(say(server.socket, [bytes((1 << 20) + 2)]))
    assert code == 1009
    # It may be closed, by the head of the message, before the one that came before it has been answered.
    assert [one["type"] for one in found] in (["ready"], [])


def test_a_client_that_sends_all_at_once_is_held_back(server: Served, clip: np.ndarray) -> None:
    """A minute of speech as fast as the line takes it: the server never holds more than its bound and one message."""
    most = 0.0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max([most, *(one._waiting_samples / 16000 for one in server.engine.live.sessions)])
            await asyncio.sleep(0.001)

    async def test() -> tuple[list[Any], int]:
        watching = asyncio.create_task(watch())
        try:
            return await say(server.socket, pieces(np.tile(clip, 15), 16000))
        finally:
            watching.cancel()

    found, code = asyncio.run(test())
    assert code == 1000
    assert updates(found) == alone(np.tile(clip, 15))
    assert 0 < most <= 11
