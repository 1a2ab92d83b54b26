"""`tdt serve` as a process: speech on its socket, Home Assistant's port, and an end that takes no words away."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import Any

import soundfile
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from wyoming.client import AsyncTcpClient
from wyoming.info import Describe, Info

from .serving import RECORDINGS, TEXT, Served, free_port, served

PATIENCE = 120.0


def test_who_speaks_when_the_server_is_told_to_end_has_the_last_words() -> None:
    """The sound has come but for its last window, and no finish: SIGTERM says the rest, and why."""
    port = free_port()
    with served("--wyoming", str(port)) as running:
        found, code = asyncio.run(_interrupted(running, port))
        assert found[-1]["type"] == "finished"
        assert found[-1]["text"] == TEXT
        assert code == 1012
        assert running.process.wait(PATIENCE) == 0


async def _interrupted(running: Served, port: int) -> tuple[list[dict[str, Any]], int | None]:
    samples = soundfile.read(RECORDINGS / "15_hello_world.flac", dtype="int16")[0]
    found = []
    async with asyncio.timeout(PATIENCE):
        async with AsyncTcpClient("127.0.0.1", port) as client:
            await client.write_event(Describe().event())
            event = await client.read_event()
            assert event is not None
            assert [one.name for one in Info.from_event(event).asr] == ["parakeet-tdt", "parakeet-tdt-live"]
        async with connect(f"ws://127.0.0.1:{running.port}/v1/listen") as socket:
            await socket.send('{"rate": 16000}')
            for at in range(0, len(samples), 1600):
                await socket.send(samples[at : at + 1600].tobytes())
            try:
                async for message in socket:
                    found.append(json.loads(message))
                    if found[-1].get("decoded_seconds") == 2.88:  # all but the rest of the last window
                        running.process.send_signal(signal.SIGTERM)
            except ConnectionClosed:
                pass
    return found, socket.close_code
