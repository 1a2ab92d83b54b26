"""Sixty-four callers at once, short and long mixed, for a minute: none wrong, none lost, memory flat."""

from __future__ import annotations

import asyncio
import io
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

import tdt

from .serving import Served, request, served

# `TDT_CALLERS_SECONDS=600` for the long run.
SECONDS = float(os.environ.get("TDT_CALLERS_SECONDS", "60"))
CALLERS = 64
LONG_CALLERS = 2


def resident(server: Served) -> int:
    """Return the memory of the process in bytes."""
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def caller(server: Served, raws: list[bytes], first: int, until: float, found: list[tuple[int, str]]) -> None:
    """Ask for one recording after another until the time is over; none that was begun is given up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    number = first
    while time.monotonic() < until:
        writer.write(raws[number % len(raws)])
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = next(int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length"))
        body = json.loads(await reader.readexactly(length))
        assert head.split(" ")[1] == "200", body
        found.append((number % len(raws), body["text"]))
        number += 1
    writer.close()


async def all_callers(
    server: Served, short: list[bytes], long: list[bytes], seconds: float
) -> list[tuple[str, int, str]]:
    until = time.monotonic() + seconds
    answers: list[list[tuple[int, str]]] = [[] for _ in range(CALLERS)]
    kinds = ["long" if n < LONG_CALLERS else "short" for n in range(CALLERS)]
    await asyncio.gather(
        *(caller(server, long if kind == "long" else short, n, until, answers[n]) for n, kind in enumerate(kinds))
    )
    return [(kind, which, text) for kind, found in zip(kinds, answers, strict=True) for which, text in found]


@pytest.mark.slow
def test_many_callers_for_a_while(eval_folder: Path) -> None:
    sounds = [path.read_bytes() for path in sorted(eval_folder.glob("*.flac"))]
    pieces = [soundfile.read(io.BytesIO(sound), dtype="float32")[0] for sound in sounds]
    file = io.BytesIO()
    soundfile.write(file, np.concatenate(pieces), 16000, format="FLAC")
    talk = file.getvalue()
    with tdt.load() as asr:
        wanted = {("short", n): asr.transcribe(sound).text for n, sound in enumerate(sounds)}
        wanted["long", 0] = asr.transcribe(talk).text
    short, long = [request(sound) for sound in sounds], [request(talk)]
    with served() as server:
        asyncio.run(all_callers(server, short, long, SECONDS / 3))
        before = resident(server)
        answers = asyncio.run(all_callers(server, short, long, 2 * SECONDS / 3))
        after = resident(server)
        wrong = [(kind, which) for kind, which, text in answers if text != wanted[kind, which]]
        assert wrong == []
        assert {kind for kind, _, _ in answers} == {"short", "long"}
        assert len(answers) > CALLERS
        assert server.under_way() == 0
        assert server.counted("tdt_abandoned_total") == 0
        assert after < 1.05 * before, f"{before / 1e6:.0f} MB, then {after / 1e6:.0f} MB"
