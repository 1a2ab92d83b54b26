"""A server in a thread of this process, on a port that is free: for clients that speak over real sockets."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import uvicorn

import tdt
from tdt.serving import Engine, Settings, create_app
from tdt.serving.conversation import LONGEST_BLOCK

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 120.0  # seconds: for a loaded machine


class Served(NamedTuple):
    """Where it is, and what runs there."""

    port: int
    engine: Engine
    loop: asyncio.AbstractEventLoop

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def socket(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/listen"


@contextmanager
def served(**settings: Any) -> Iterator[Served]:
    with tdt.load() as recognizer, socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        wanted = Settings(**({"provider": "cpu"} | settings))
        engine = Engine(recognizer, wanted)
        config = uvicorn.Config(
            create_app(engine, wanted),
            lifespan="on",
            log_config=None,
            ws="websockets-sansio",
            ws_max_size=LONGEST_BLOCK,
        )
        server = uvicorn.Server(config)
        loops: list[asyncio.AbstractEventLoop] = []

        async def serve() -> None:
            loops.append(asyncio.get_running_loop())
            await server.serve([listening])

        thread = threading.Thread(target=lambda: asyncio.run(serve()), name="served")
        thread.start()
        try:
            started = threading.Event()
            waited = 0.0
            while not server.started and thread.is_alive() and waited < PATIENCE:
                started.wait(0.05)  # uvicorn sets a flag and no event
                waited += 0.05
            assert server.started, "the server did not start"
            yield Served(listening.getsockname()[1], engine, loops[0])
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
            assert not thread.is_alive(), "the server did not end"
