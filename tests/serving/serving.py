"""`tdt serve` as a process, and callers that speak plain HTTP."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
RECORDINGS = ROOT / "tdt" / "models" / "recordings"
HELLO = (RECORDINGS / "15_hello_world.flac").read_bytes()
TEXT = "Hello world. Testing one, two, three."
PATH = "/v1/audio/transcriptions"


class Served(NamedTuple):
    """A server that runs."""

    process: subprocess.Popen[str]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        found = answer.status, answer.read().decode()
        connection.close()
        return found

    def post(self, sound: bytes = HELLO, **fields: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        body, kind = form(sound, **fields)
        connection.request("POST", PATH, body, {"content-type": kind})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, json.loads(text) if "json" in answer.headers["content-type"] else text

    def raw(self, data: bytes = b"") -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        connection.sendall(data)
        return connection

    def under_way(self) -> float:
        return self.counted("tdt_requests_under_way")

    def counted(self, name: str) -> float:
        lines = [line for line in self.get("/metrics")[1].splitlines() if line.startswith(name + " ")]
        return float(lines[0].split(" ")[1])


def form(sound: bytes, **fields: str) -> tuple[bytes, str]:
    """Return a form's body and content type."""
    parts = [
        f'--edge\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
    ]
    head = '--edge\r\nContent-Disposition: form-data; name="file"; filename="a.flac"\r\n\r\n'
    return "".join([*parts, head]).encode() + sound + b"\r\n--edge--\r\n", "multipart/form-data; boundary=edge"


def request(sound: bytes = HELLO, **fields: str) -> bytes:
    """Return a whole request."""
    body, kind = form(sound, **fields)
    head = f"POST {PATH} HTTP/1.1\r\nHost: here\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "tdt", "serve", *options]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(*options: str, log: Path | None = None) -> Iterator[Served]:
    """Run a server during the block; it ends by SIGTERM, and well."""
    port = free_port()
    with (log or Path("/dev/null")).open("w") as stream:
        process = subprocess.Popen(command("--port", str(port), *options), cwd=ROOT, text=True, stderr=stream)
        found = Served(process, port)
        try:
            until(lambda: healthy(found), 60)
            yield found
            process.terminate()
            if process.returncode is None:
                assert process.wait(60) in {0, 143}
        finally:
            process.kill()
            process.wait()


def healthy(server: Served) -> bool:
    assert server.process.poll() is None, "the server has ended"
    try:
        return server.get("/health")[0] == 200
    except OSError:
        return False


def until(done: Any, seconds: float = 30.0) -> None:
    """Wait until something is so."""
    last = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < last, "it took too long"
        time.sleep(0.01)
