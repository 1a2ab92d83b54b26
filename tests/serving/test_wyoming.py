"""Home Assistant's protocol, by its own package's client; and what it must survive, byte by byte."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from wyoming.asr import Transcribe, Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong

import tdt
from tdt.errors import FieldError
from tdt.serving import Engine, Settings
from tdt.serving.wyoming import Wyoming, languages_of
from tdt.serving.wyoming_wire import LONGEST_LINE, Event, read_event

from .running import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

SAID = "Hello world. Testing one, two, three."
NAME = "parakeet-tdt-tiny"
MONO = AudioStart(16000, 2, 1).event()


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    return soundfile.read(f"{tdt.__path__[0]}/models/recordings/15_hello_world.flac", dtype="int16")[0]


@pytest.fixture(scope="module")
def asr() -> Iterator[tdt.Recognizer]:
    with tdt.load() as loaded:
        yield loaded


@asynccontextmanager
async def client_of(recognizer: tdt.Recognizer, **given: Any) -> AsyncIterator[tuple[AsyncTcpClient, Engine, int]]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        async with (
            asyncio.timeout(PATIENCE),
            Engine(recognizer, Settings(**given)) as engine,
            Wyoming(engine, listening),
            AsyncTcpClient("127.0.0.1", port) as client,
        ):
            yield client, engine, port


def play(recognizer: tdt.Recognizer, test: Callable[..., Awaitable[None]], **given: Any) -> None:
    async def run() -> None:
        async with client_of(recognizer, **given) as (client, engine, port):
            await test(client, engine, port)

    asyncio.run(run())


async def say(
    client: AsyncTcpClient, samples: np.ndarray, rate: int = 16000, size: int = 1024, **asked: Any
) -> list[Any]:
    """Say something as Home Assistant does, and return the events up to the transcript or the end."""
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    if asked:
        await client.write_event(Transcribe(**asked).event())
    await client.write_event(AudioStart(rate, 2, channels).event())
    for at in range(0, len(samples), 1024):
        await client.write_event(AudioChunk(rate, 2, channels, samples[at : at + 1024].tobytes()).event())
    await client.write_event(AudioStop().event())
    found = []
    while (event := await client.read_event()) is not None:
        found.append(event)
        last = TranscriptStop if asked.get("name", "").endswith("-live") else Transcript
        if last.is_type(event.type) or Error.is_type(event.type):
            break
    return found


def test_it_describes_itself(asr: tdt.Recognizer) -> None:
    async def test(client: AsyncTcpClient, engine: Engine, port: int) -> None:
        await client.write_event(Describe().event())
        info = Info.from_event(await client.read_event())
        assert [(one.name, one.supports_transcript_streaming) for one in info.asr] == [
            ("parakeet-tdt", False),
            ("parakeet-tdt-live", True),
        ]
        assert [model.name for one in info.asr for model in one.models] == [NAME, f"{NAME}-live"]
        assert all(model.languages == ["en"] and model.installed for one in info.asr for model in one.models)
        await client.write_event(Ping("x").event())
        assert Pong.from_event(await client.read_event()).text == "x"

    play(asr, test)
    assert "de" in languages_of("parakeet-tdt-0.6b-v3")
    assert languages_of("parakeet-tdt-0.6b-v2") == ["en"]


@pytest.mark.parametrize("asked", [{}, {"name": NAME}, {"language": "en"}, {"transcript_names": ["Hello"]}])
def test_a_transcript_is_the_librarys(asr: tdt.Recognizer, clip: np.ndarray, asked: dict[str, Any]) -> None:
    stereo = np.stack([clip, clip], axis=1)

    async def test(client: AsyncTcpClient, engine: Engine, port: int) -> None:
        for samples, rate in ((clip, 16000), (stereo, 16000), (clip, 16000), (clip, 12000)):
            (event,) = await say(client, samples, rate, **asked)
            expected = asr.transcribe(samples, sample_rate=rate, phrases=asked.get("transcript_names"))
            assert Transcript.from_event(event).text == expected.text

    play(asr, test)


def test_who_asks_for_it_gets_the_transcript_while_speaking(asr: tdt.Recognizer, clip: np.ndarray) -> None:
    async def test(client: AsyncTcpClient, engine: Engine, port: int) -> None:
        await client.write_event(Transcribe(name=f"{NAME}-live").event())
        await client.write_event(AudioStart(16000, 2, 1).event())
        for at in range(0, len(clip), 1600):
            await client.write_event(AudioChunk(16000, 2, 1, clip[at : at + 1600].tobytes()).event())
        first = [await client.read_event(), await client.read_event()]
        assert TranscriptStart.is_type(first[0].type)
        assert TranscriptChunk.from_event(first[1]).text == "Hello", "before the sound has ended"
        await client.write_event(AudioStop().event())
        rest = [await client.read_event()]
        while not TranscriptStop.is_type(rest[-1].type):
            rest.append(await client.read_event())
        chunks = [TranscriptChunk.from_event(event).text for event in (first[1], *rest[:-2])]
        assert "".join(chunks) == Transcript.from_event(rest[-2]).text == SAID
        assert engine.metrics.value("tdt_live_streams", "wyoming") == 0
        for _ in range(2):  # the connection goes on, either way
            found = await say(client, clip, name=f"{NAME}-live")
            assert Transcript.from_event(found[-2]).text == SAID
            assert Transcript.from_event((await say(client, clip))[0]).text == SAID

    play(asr, test)


@pytest.mark.parametrize(
    ("events", "code"),
    [
        ([AudioStart(16000, 4, 1).event()], "invalid_field"),
        ([AudioStart(0, 2, 1).event()], "invalid_field"),
        ([MONO, AudioChunk(8000, 2, 1, b"\0\0").event()], "invalid_field"),
        ([AudioStart(16000, 2, 2).event(), AudioChunk(16000, 2, 2, b"\0\0").event()], "invalid_field"),
        (
            [Transcribe(transcript_terms=["☃"]).event(), AudioStart(16000, 2, 1).event(), AudioStop().event()],
            "invalid_value",
        ),
        ([MONO, AudioChunk(16000, 2, 1, bytes(200_000)).event()], "upload_too_large"),
        ([Transcribe(transcript_names=[""]).event(), AudioStart(16000, 2, 1).event()], "invalid_field"),
    ],
)
def test_what_cannot_be_heard_is_told(asr: tdt.Recognizer, events: list[Any], code: str) -> None:
    async def test(client: AsyncTcpClient, engine: Engine, port: int) -> None:
        for event in events:
            await client.write_event(event)
        told = Error.from_event(await client.read_event())
        assert (told.code, bool(told.text)) == (code, True)
        assert await client.read_event() is None, "closed"
        async with AsyncTcpClient("127.0.0.1", port) as other:
            await other.write_event(Describe().event())
            assert Info.is_type((await other.read_event()).type), "others go on"

    play(asr, test, max_mb=0.1)


def test_who_goes_away_frees_the_stream(asr: tdt.Recognizer, clip: np.ndarray) -> None:
    async def test(client: AsyncTcpClient, engine: Engine, port: int) -> None:
        for name in (NAME, f"{NAME}-live"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            start = Event("audio-start", {"rate": 16000, "width": 2, "channels": 1})
            chunk = Event("audio-chunk", start.data, clip[:40_000].tobytes())
            writer.write(Event("transcribe", {"name": name}).encoded() + start.encoded() + chunk.encoded())
            await writer.drain()
            if name.endswith("-live"):
                assert (await read_event(reader)) == Event("transcript-start", {})
            writer.transport.abort()
        while engine.live.sessions or len(engine.live._room):
            await asyncio.sleep(0.01)

    play(asr, test)


def test_more_clients_than_there_are_places_are_told(asr: tdt.Recognizer) -> None:
    async def test(client: AsyncTcpClient, engine: Engine, port: int) -> None:
        async with AsyncTcpClient("127.0.0.1", port) as second:
            for one in (client, second):
                await one.write_event(Describe().event())
                await one.read_event()
            async with AsyncTcpClient("127.0.0.1", port) as third:
                assert Error.from_event(await third.read_event()).code == "queue_full"

    play(asr, test, queue=2)


# --- the wire ---------------------------------------------------------------------------------------------------------


async def read_all(data: bytes) -> list[Event]:
    reader = asyncio.StreamReader(limit=LONGEST_LINE)
    reader.feed_data(data)
    reader.feed_eof()
    found = []
    while (event := await read_event(reader)) is not None:
        found.append(event)
    return found


VALUES = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.none(), max_size=3)


@given(st.lists(st.builds(Event, st.text(max_size=8), VALUES, st.binary(max_size=30)), max_size=4))
def test_what_is_written_is_read(events: list[Event]) -> None:
    assert asyncio.run(read_all(b"".join(event.encoded() for event in events))) == events


def test_data_in_the_header_is_merged() -> None:
    more = json.dumps({"b": 3}).encode()
    head = json.dumps(
        {"type": "x", "data": {"a": 1, "b": 2}, "data_length": len(more), "payload_length": None}
    ).encode()
    assert asyncio.run(read_all(head + b"\n" + more)) == [Event("x", {"a": 1, "b": 3})]


@pytest.mark.parametrize(
    "raw",
    [
        b"no json\n", b"[]\n", b"{}\n", b'{"type": 3}\n', b'{"type": "x", "data": []}\n'.replace(b"[]", b"[1]"),
        b'{"type": "x", "data_length": -1}\n', b'{"type": "x", "payload_length": 1e3}\n', b'{"type": "x"',
        b'{"type": "x", "payload_length": 4}\nabc', b'{"type": "x", "data_length": 3}\nabc',
        b'{"type": "x", "payload_length": 99999999999}\n', b'{"type": "' + b"x" * 70_000 + b'"}\n',
    ],
)  # fmt: skip
def test_what_is_no_event_is_a_typed_error(raw: bytes) -> None:
    with pytest.raises(FieldError):
        asyncio.run(read_all(raw))


@settings(max_examples=200)
@given(st.binary(max_size=200), st.integers(0, 80), st.binary(max_size=4))
def test_whatever_comes_is_read_or_refused(noise: bytes, at: int, splice: bytes) -> None:
    good = Event("audio-chunk", {"rate": 1}, b"abc").encoded()
    for raw in (noise, good[:at] + splice + good[at:], good[:at]):
        try:
            found = asyncio.run(read_all(raw))
        except FieldError as error:
            assert error.field is not None  # noqa: PT017  either way is right
        else:
            assert all(isinstance(event, Event) for event in found)
