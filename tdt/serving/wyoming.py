"""The Wyoming protocol, which Home Assistant speaks: sound in, a transcript out; streamed where the client asks for it.

A second way to the same engine, on a port of its own. The protocol knows no keys: it is meant for a trusted network.
"""

from __future__ import annotations

import asyncio
import io
import logging
import wave
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from tdt.audio import BlockMixer
from tdt.errors import FieldError, QueueFullError, TdtError, UploadTooLargeError
from tdt.live import Update
from tdt.serving.conversation import CHANNELS, PHRASES, RATES
from tdt.serving.live_session import LiveAsk
from tdt.serving.refusing import refused
from tdt.serving.wyoming_wire import LONGEST_LINE, Event, read_event
from tdt.version import __version__

if TYPE_CHECKING:
    import socket

    from tdt.serving.engine import Engine
    from tdt.serving.live_session import LiveSession

log = logging.getLogger("tdt.serving")
# What is appended to a model's name by those who want the transcript while they speak.
LIVE = "-live"
_SAMPLE_BYTES = 2
_LIVE_LATENCY = 2
_RETRY_SECONDS = 5
_ATTRIBUTION = {"name": "NVIDIA", "url": "https://huggingface.co/nvidia"}
_OURS = {"name": "parakeet-tdt", "url": "https://pypi.org/project/parakeet-tdt/"}


def info(model: str) -> Event:
    """Return the answer to `describe`: two programs of one model, for whole transcripts and for streamed ones."""

    def program(name: str, described: str, *, streams: bool) -> dict[str, Any]:
        kind = {"attribution": _ATTRIBUTION, "installed": True, "description": described, "version": __version__}
        found = {"name": name, "languages": languages_of(model), **kind}
        return {
            **kind,
            "name": "parakeet-tdt" + (LIVE if streams else ""),
            "attribution": _OURS,
            "models": [found],
            "supports_transcript_streaming": streams,
            "requires_external_vad": True,
            "prefers_auto_gain_enabled": False,
            "prefers_noise_reduction_enabled": False,
        }

    whole = program(model, "Parakeet-TDT, the transcript at the end", streams=False)
    live = program(model + LIVE, "Parakeet-TDT, the transcript while one speaks", streams=True)
    nothing: dict[str, list[Any]] = {name: [] for name in ("tts", "handle", "intent", "wake", "mic", "snd")}
    return Event("info", {"asr": [whole, live], **nothing})


def languages_of(model: str) -> list[str]:
    """Return the languages that a model of this name was made for, as its card lists them; English where it says none.

    Home Assistant offers a recogniser for the languages that it names, and for no others.
    """
    if "-v3" in model:
        return [
            "bg", "hr", "cs", "da", "nl", "en", "et", "fi", "fr", "de", "el", "hu", "it", "lv", "lt", "mt", "pl", "pt",
            "ro", "ru", "sk", "sl", "es", "sv", "uk",
        ]  # fmt: skip
    return ["ja"] if model.endswith("-ja") else ["en"]


class Wyoming:
    """A server of the protocol over an engine; an asynchronous context manager, serving meanwhile.

    Parameters
    ----------
    engine : Engine
        Started.
    listening : socket
        Bound.
    """

    def __init__(self, engine: Engine, listening: socket.socket) -> None:
        self._engine, self._listening = engine, listening
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._meet, sock=self._listening, limit=LONGEST_LINE)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if len(self._tasks) > self._engine.settings.queue:  # each may hold a recording
                raise QueueFullError(self._engine.settings.queue, _RETRY_SECONDS)  # noqa: TRY301  told as all others
            await _Client(self._engine, reader, writer).talk()
        except ConnectionError:
            pass  # gone
        except Exception as error:  # noqa: BLE001  whatever it is, the client is told
            refusal, body = refused(error)
            log.info("a Wyoming client was refused: %s (%s)", refusal.code, type(error).__name__)
            told = {"text": body["error"]["message"], "code": refusal.code}
            with suppress(ConnectionError):
                writer.write(Event("error", told).encoded())
                await writer.drain()
        finally:
            self._tasks.discard(task)
            writer.close()


class _Client:
    """One client, and what it says."""

    def __init__(self, engine: Engine, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._engine, self._reader, self._writer = engine, reader, writer
        self._asked: dict[str, Any] = {}

    async def talk(self) -> None:
        """Answer events until the client goes."""
        while (event := await read_event(self._reader)) is not None:
            if event.type == "describe":
                await self._send(info(self._engine.settings.model))
            elif event.type == "ping":
                await self._send(Event("pong", {key: event.data[key] for key in ("text",) if key in event.data}))
            elif event.type == "transcribe":
                self._asked = event.data
            elif event.type == "audio-start":
                await self._hear(event)
                self._asked = {}
            # Others, of parts of the protocol that are none of a recogniser's, are passed over, as its clients expect.

    async def _hear(self, start: Event) -> None:
        rate, channels = _format(start)
        settings = self._engine.settings
        name = self._asked.get("name") or settings.model
        phrases = _phrases(self._asked)
        if name == settings.model + LIVE:
            ask = LiveAsk(rate, "pcm16", channels, _LIVE_LATENCY, phrases)
            async with await self._engine.live.join(ask, "wyoming") as session:
                await self._live(session, channels)
            return
        sound = io.BytesIO()
        with wave.open(sound, "wb") as file:
            file.setparams((channels, _SAMPLE_BYTES, rate, 0, "NONE", ""))
            most = round(settings.max_mb * 1e6)
            while (block := await self._block(rate, channels)) is not None:
                if sound.tell() + len(block) > most:
                    raise UploadTooLargeError(most)
                file.writeframesraw(block)
        transcript = await self._engine.transcribe(sound.getvalue(), phrases=list(phrases) or None, name="the stream")
        await self._send(Event("transcript", {"text": transcript.text}))

    async def _live(self, session: LiveSession, channels: int) -> None:
        """Send what is settled as soon as it is; the transcript is what has been sent."""
        await self._send(Event("transcript-start"))
        hearing = asyncio.create_task(self._hand_on(session, channels))
        sent: list[str] = []
        said = 0  # characters of the running utterance that have been sent
        try:
            while updates := await session.said():
                for update in updates:
                    if isinstance(update, TdtError):
                        raise update
                    if not isinstance(update, Update) or update.kind not in {"partial", "final"}:
                        continue
                    if new := update.final[said:]:
                        sent.append(f" {new}" if sent and not said else new)
                        await self._send(Event("transcript-chunk", {"text": sent[-1]}))
                    said = 0 if update.kind == "final" else len(update.final)
            await hearing
        finally:
            hearing.cancel()
            await asyncio.wait([hearing])
        await self._send(Event("transcript", {"text": "".join(sent)}))
        await self._send(Event("transcript-stop"))

    async def _hand_on(self, session: LiveSession, channels: int) -> None:
        mixer = BlockMixer("The stream")
        try:
            while (block := await self._block(session.setup.rate_hz, channels)) is not None:
                samples = np.frombuffer(block, "<i2").reshape(-1, channels)
                await session.hear(mixer.mono(samples if channels > 1 else samples[:, 0]))
            session.end()
        except BaseException:
            session.leave()
            raise

    async def _block(self, rate: int, channels: int) -> bytes | None:
        """Return the samples of the next chunk, or None at the end of the sound."""
        while (event := await read_event(self._reader)) is not None:
            if event.type == "audio-stop":
                return None
            if event.type != "audio-chunk":
                continue
            if _format(event) != (rate, channels):
                raise FieldError("audio-chunk", "has another format than audio-start", "one throughout")
            if len(event.payload) % (_SAMPLE_BYTES * channels):
                raise FieldError("audio-chunk", f"has {len(event.payload)} bytes", "whole samples of all channels")
            return event.payload
        raise ConnectionResetError

    async def _send(self, event: Event) -> None:
        self._writer.write(event.encoded())
        await self._writer.drain()


def _format(event: Event) -> tuple[int, int]:
    """Return rate and channels of a start or a chunk."""
    found = []
    for name, (least, most) in (("rate", RATES), ("width", (_SAMPLE_BYTES, _SAMPLE_BYTES)), ("channels", CHANNELS)):
        value = event.data.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            expected = f"{least}" if least == most else f"a whole number from {least} to {most}"
            raise FieldError(name, f"of {event.type} is {value!r:.40}", expected)
        found.append(value)
    return found[0], found[2]


def _phrases(asked: dict[str, Any]) -> tuple[str, ...]:
    """Return the names and terms that are likely to be said."""
    found: list[str] = []
    for name in ("transcript_names", "transcript_terms"):
        values = asked.get(name) or []
        if not isinstance(values, list) or not all(isinstance(value, str) and value for value in values):
            raise FieldError(name, "is no list of texts", "a list of phrases")
        found += values
    if len(found) > PHRASES:
        raise FieldError("transcript_terms", f"has {len(found)} phrases", f"at most {PHRASES}")
    return tuple(found)
