"""Callers of a server for bench_serve.py: plain sockets, so that what is measured is the server."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PATH = "/v1/audio/transcriptions"
_BOUNDARY = "a-boundary-that-no-sound-holds"


class Reply(NamedTuple):
    """Which clip it is of, its status and body, and the seconds that it took."""

    clip: int
    status: int
    text: str
    seconds: float


def request(sound: bytes) -> bytes:
    """Return a request with a sound as its form."""
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="clip"\r\n\r\n'.encode()
    body = head + sound + f"\r\n--{_BOUNDARY}--\r\n".encode()
    lines = [f"POST {PATH} HTTP/1.1", "Host: localhost", f"Content-Type: multipart/form-data; boundary={_BOUNDARY}"]
    return ("\r\n".join([*lines, f"Content-Length: {len(body)}"]) + "\r\n\r\n").encode() + body


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, raw: bytes) -> tuple[int, bytes]:
    """Send a request and return status and body of the answer."""
    writer.write(raw)
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    length = next(int(line.split(":")[1]) for line in head.lower().split("\r\n") if line.startswith("content-length"))
    return int(head.split(" ", 2)[1]), await reader.readexactly(length)


async def _caller(port: int, requests: Sequence[bytes], work: list[int], replies: list[Reply]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while work:
        clip = work.pop()
        begun = time.perf_counter()
        status, body = await ask(reader, writer, requests[clip])
        text = json.loads(body).get("text", "") if status == 200 else body.decode()
        replies.append(Reply(clip, status, text, time.perf_counter() - begun))
    writer.close()


async def load(port: int, requests: Sequence[bytes], callers: int, each: int) -> tuple[list[Reply], float]:
    """Have so many callers send each clip so often, one request after another; return replies and seconds."""
    work = [clip for _ in range(each) for clip in range(len(requests))]
    replies: list[Reply] = []
    begun = time.perf_counter()
    await asyncio.gather(*(_caller(port, requests, work, replies) for _ in range(callers)))
    return replies, time.perf_counter() - begun


@contextmanager
def served(port: int, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """Run `tdt serve` during the block; yield the process, and how long it took until it was healthy."""
    begun = time.perf_counter()
    root = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "tdt", "serve", "--quiet", "--port", str(port), *options]
    process = subprocess.Popen(command, env=environment)
    try:
        while not healthy(port):
            if process.poll() is not None:
                raise SystemExit(f"the server ended with status {process.returncode}")
            time.sleep(0.01)
        yield process, time.perf_counter() - begun
    finally:
        process.terminate()
        process.wait()


def healthy(port: int) -> bool:
    """Say whether the server at a port is well."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False
