"""The real hub client against a small hub on this machine: listing, download, resume, cache, no network."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import urlparse

import pytest

from .. import tiny_models
from ..tiny_models import Shape

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LOAD = "import sys, tdt.model.finding as l; f, s = l.find_model('owner/model'); print(f.folder, s.blank_id)"


class Hub(ThreadingHTTPServer):
    """Serves a folder as the repository owner/model; `cut` ends the next large answer early."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.requests: list[tuple[str, str, str | None]] = []
        self.cut = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        path = urlparse(self.path).path
        self.server.requests.append((self.command, path.rsplit("/", 1)[-1], self.headers.get("Range")))
        if path.startswith("/api/models/owner/model"):
            files = [{"rfilename": p.name, "size": p.stat().st_size} for p in sorted(self.server.folder.iterdir())]
            content = json.dumps({"id": "owner/model", "sha": COMMIT, "siblings": files, "tags": []}).encode()
            self.send(200, content, {"Content-Type": "application/json"}, body=body)
            return
        file = self.server.folder / path.rsplit("/", 1)[-1]
        if not path.startswith("/owner/model/resolve/") or not file.is_file():
            self.send(404, b"", {"X-Error-Code": "EntryNotFound"}, body=body)
            return
        content = file.read_bytes()
        headers = {
            "X-Repo-Commit": COMMIT,
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "Accept-Ranges": "bytes",
        }
        wanted = self.headers.get("Range", "")
        if wanted.startswith("bytes="):
            start = int(wanted.removeprefix("bytes=").split("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.send(206, content[start:], headers, body=body)
            return
        self.send(200, content, headers, body=body)

    def send(self, status: int, content: bytes, headers: dict[str, str], *, body: bool) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not body:
            return
        if self.server.cut and len(content) > self.server.cut and status == 200 and "ETag" in headers:
            self.wfile.write(content[: self.server.cut])
            self.server.cut = 0
            self.close_connection = True
            return
        self.wfile.write(content)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    folder = tiny_models.write(tmp_path / "remote", Shape(vocab=50), external=True)
    (folder / "README.md").write_bytes(b"not wanted")
    server = Hub(folder)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def load(hub: Hub, cache: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = {
        "HF_ENDPOINT": hub.address,
        "HF_HUB_CACHE": str(cache),
        "HF_HOME": str(cache.parent / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1",
    }
    env = {k: v for k, v in os.environ.items() if not k.startswith("HF_")} | settings | environment
    command = [sys.executable, "-c", LOAD]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=env, cwd=cache.parent)


def test_download_then_cache(hub: Hub, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    done = load(hub, cache)
    assert done.returncode == 0, done.stderr
    assert str(cache / "models--owner--model" / "snapshots" / COMMIT) in done.stdout
    assert done.stderr == "", "no progress bar where stderr is no terminal"
    fetched = {name for method, name, _ in hub.requests if method == "GET"}
    assert fetched == {
        "model", "config.json", "vocab.txt", "encoder-model.onnx", "encoder-model.onnx.data",
        "decoder_joint-model.onnx",
    }  # fmt: skip
    hub.requests.clear()
    assert load(hub, cache, HF_HUB_OFFLINE="1").returncode == 0
    assert load(hub, cache).returncode == 0
    assert hub.requests == [], "a complete cache is used without asking"


def test_a_broken_download_goes_on_where_it_stopped(hub: Hub, tmp_path: Path) -> None:
    weights = hub.folder / "encoder-model.onnx.data"
    with weights.open("r+b") as stream:
        stream.truncate(24 << 20)  # the client keeps what it has in steps of 10 MiB
    hub.cut = 15 << 20
    done = load(hub, tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    ranges = [wanted for method, _, wanted in hub.requests if method == "GET" and wanted is not None]
    assert ranges == [f"bytes={10 << 20}-"]
    (fetched,) = (tmp_path / "cache").glob("models--*/snapshots/*/encoder-model.onnx.data")
    assert fetched.read_bytes() == weights.read_bytes()


def test_a_repository_that_is_not_there(hub: Hub, tmp_path: Path) -> None:
    hub.folder = tmp_path / "empty"
    hub.folder.mkdir()
    done = load(hub, tmp_path / "cache")
    assert done.returncode == 1
    assert "tdt.model_errors.UnsupportedLayoutError" in done.stderr
