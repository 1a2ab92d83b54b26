"""The process: how it starts, how it ends, and clients that are slow, many, or gone."""

from __future__ import annotations

import asyncio
import io
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

from tdt.serving import Settings
from tdt.serving.server import claim

from .serving import HELLO, PATH, ROOT, TEXT, Served, command, form, free_port, request, served, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served("--upload-seconds", "2", "--max-mb", "20") as found:
        yield found


@pytest.fixture(scope="module")
def lecture() -> bytes:
    """A quarter of an hour of speech, which takes a while."""
    samples, rate_hz = soundfile.read(io.BytesIO(HELLO), dtype="float32")
    file = io.BytesIO()
    soundfile.write(file, np.tile(samples, 250), rate_hz, format="FLAC")
    return file.getvalue()


def answer_of(connection: socket.socket) -> tuple[int, dict[str, object]]:
    with connection.makefile("rb") as file:
        status = int(file.readline().split()[1])
        length = 0
        while (line := file.readline().strip()) != b"":
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return status, json.loads(file.read(length))


# --- clients ----------------------------------------------------------------------------------------------------------


def test_a_request(server: Served) -> None:
    assert server.post() == (200, {"text": TEXT, "usage": {"type": "duration", "seconds": 4.025}})


def test_a_client_that_sends_a_byte_a_second_is_told_and_keeps_nobody_waiting(server: Served) -> None:
    raw = request()
    slow = server.raw(raw[:300])
    told: list[tuple[int, dict[str, object]]] = []
    reading = threading.Thread(target=lambda: told.append(answer_of(slow)))
    reading.start()
    begun = time.monotonic()
    while reading.is_alive():
        slow.sendall(raw[300:301])
        assert server.post()[1]["text"] == TEXT
        assert server.under_way() == 0  # it holds no place
        reading.join(1.0)
        assert time.monotonic() - begun < 20
    assert told[0][0] == 408
    assert told[0][1]["error"]["code"] == "upload_timeout"  # type: ignore[index]
    slow.close()


def test_idle_sockets_cost_nobody_anything(server: Served) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 1000
    if hard < wanted + 200:
        pytest.skip("this process may not open so many files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted + 200), hard))
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (max(soft, wanted + 200), hard))
    idle = [server.raw() for _ in range(wanted)]
    try:
        assert server.post()[1]["text"] == TEXT
    finally:
        for connection in idle:
            connection.close()
    assert server.post()[1]["text"] == TEXT


CALLER = """
import socket, sys
raw = sys.stdin.buffer.read()
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
connection.sendall(raw[: len(raw) // int(sys.argv[2])])
print("sent", flush=True)
connection.recv(1)
"""


@pytest.mark.parametrize("sent", ["half", "all"])
def test_clients_that_are_killed_free_their_places(server: Served, lecture: bytes, sent: str) -> None:
    raw = request(lecture)
    before = server.counted("tdt_abandoned_total")
    arguments = [sys.executable, "-c", CALLER, str(server.port), "2" if sent == "half" else "1"]
    callers = [subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(4)]
    for caller in callers:
        assert caller.stdin is not None
        caller.stdin.write(raw)
        caller.stdin.close()
    for caller in callers:
        assert caller.stdout is not None
        assert caller.stdout.readline() == b"sent\n"
    if sent == "all":
        until(lambda: server.under_way() == 4)
    for caller in callers:
        caller.kill()
        caller.wait()
        assert caller.stdout is not None
        caller.stdout.close()
    until(lambda: server.under_way() == 0)
    assert server.post()[1]["text"] == TEXT
    assert server.counted("tdt_abandoned_total") - before == (4 if sent == "all" else 0)


def test_an_upload_that_is_too_large_is_refused_while_it_comes(server: Served) -> None:
    body, kind = form(b"\0" * 1000)
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection = server.raw(head.encode())
    connection.sendall(f"{len(body) - 20:x}\r\n".encode() + body[:-20] + b"\r\n")
    piece = b"10000\r\n" + b"\0" * 0x10000 + b"\r\n"
    sent = 0
    try:
        for _ in range(2000):  # 131 MB, of which the server takes 20
            connection.sendall(piece)
            sent += 0x10000
    except OSError:
        pass
    assert sent < 60e6
    assert answer_of(connection)[0] == 413
    connection.close()
    assert server.post()[0] == 200


def test_what_is_no_http_is_refused(server: Served) -> None:
    connection = server.raw(b"\x16\x03\x01 hello\r\n\r\n")
    assert b" 400 " in connection.recv(100)
    connection.close()


# --- start and end ----------------------------------------------------------------------------------------------------


def test_the_first_sigterm_drains(lecture: bytes, tmp_path: Path) -> None:
    with served(log=tmp_path / "log") as server:
        idle = server.raw()
        file = io.BytesIO()
        samples, rate_hz = soundfile.read(io.BytesIO(HELLO), dtype="float32")
        soundfile.write(file, np.tile(samples, 40), rate_hz, format="FLAC")
        busy = server.raw(request(file.getvalue()))
        until(lambda: server.under_way() == 1)
        server.process.terminate()
        status, found = answer_of(busy)
        assert (status, str(found["text"]).count("Hello world.")) == (200, 40)
        assert server.process.wait(30) == 0
        idle.close()
        busy.close()
    log = (tmp_path / "log").read_text()
    assert "requests under way will be done" in log
    assert "Traceback" not in log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(lecture: bytes, tmp_path: Path, number: signal.Signals) -> None:
    """What would be caught: from Python 3.12 on, an end that waits for the request and answers it."""
    with served(log=tmp_path / "log") as server:
        busy = server.raw(request(lecture))
        until(lambda: server.under_way() == 1)
        server.process.send_signal(number)
        time.sleep(0.5)
        assert server.process.poll() is None
        begun = time.monotonic()
        server.process.send_signal(number)
        assert server.process.wait(30) == 143
        assert time.monotonic() - begun < 5
        with suppress(ConnectionError):
            assert busy.recv(1) == b"", "the request was to be left"
        busy.close()


def failed(*options: str) -> tuple[int, str]:
    done = subprocess.run(command(*options), capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)
    return done.returncode, done.stderr


@pytest.mark.parametrize("wyoming", [False, True])
def test_answers_are_sent_at_once(wyoming: bool) -> None:
    """What would be caught: 40 ms a request, where a connection is kept and the answer waits for an acknowledgement."""

    async def accepted() -> int:
        found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def meet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            own = writer.get_extra_info("socket")
            found.set_result(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listening = claim(Settings(port=0, wyoming=0), wyoming=wyoming)
        async with await asyncio.start_server(meet, sock=listening):
            _, writer = await asyncio.open_connection(*listening.getsockname())
            said = await asyncio.wait_for(found, 60)
            writer.close()
        return said

    assert asyncio.run(accepted()) != 0


def test_a_port_that_is_taken_is_told_before_a_model_is_loaded() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        status, told = failed("--port", str(taken.getsockname()[1]), "--model", "/nowhere")
    assert status == 2
    assert "free port" in told


def test_a_provider_that_does_not_start_ends_the_server() -> None:
    status, told = failed("--port", str(free_port()), "--provider", "cuda:0")
    assert status == 1
    assert "cuda" in told.splitlines()[-1].lower()
    assert "listening" not in told


def test_other_addresses_without_a_key_are_warned_about(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("secret\n")
    for options, warned in (([], True), (["--api-key-file", str(tmp_path / "keys")], False)):
        with served("--host", "0.0.0.0", *options, log=tmp_path / "log") as server:
            assert server.post()[0] == (401 if options else 200)
        assert ("without a key" in (tmp_path / "log").read_text()) == warned


def test_nothing_is_written_to_the_disk_under_a_name(tmp_path: Path) -> None:
    os.environ["TMPDIR"], before = str(tmp_path), os.environ.get("TMPDIR")
    try:
        with served() as server:
            large = server.raw(request(b"\0" * 5_000_000)[:-100])
            time.sleep(0.3)
            assert list(tmp_path.iterdir()) == []
            large.close()
            assert server.post()[0] == 200
            assert list(tmp_path.iterdir()) == []
    finally:
        os.environ.pop("TMPDIR")
        if before is not None:
            os.environ["TMPDIR"] = before
