"""The server's life: a port that is claimed first, a start that fails loudly, an end that lets requests be done."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING

import uvicorn

from tdt.ending import at_work
from tdt.errors import OptionError
from tdt.serving.app import create_app
from tdt.serving.conversation import LONGEST_BLOCK
from tdt.serving.wyoming import Wyoming

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tdt.serving.engine import Engine
    from tdt.serving.live_room import LiveSessions
    from tdt.serving.settings import Settings

log = logging.getLogger("tdt.serving")
STOPPED = 143  # as a shell reports what SIGTERM ended
_LOOPBACK = ("127.", "::1", "localhost")
_BACKLOG = 2048
# Whose sound waits for the model is not read meanwhile, nor are its pongs.
_PONG_SECONDS = 60
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def claim(settings: Settings, *, wyoming: bool = False) -> socket.socket:
    """Return a socket that listens where the settings say, before a model is loaded for nothing.

    Parameters
    ----------
    settings : Settings
    wyoming : bool
        Whether on the port of the Wyoming protocol.

    Raises
    ------
    OptionError
        The address is none of this machine's, or taken.
    """
    host, port = settings.host, settings.wyoming if wyoming else settings.port
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # asyncio tells only sockets that name TCP to send at once: on others, an answer behind its head waits for the
        # caller's delayed acknowledgement, 40 ms a request on a connection that is kept.
        found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as error:
        expected = f"an address of this machine and a free port ({error.strerror or error})"
        given = "--host and --wyoming" if wyoming else "--host and --port"
        raise OptionError(given, f"{host}:{port}", expected) from error
    if wyoming and not host.startswith(_LOOPBACK):
        log.warning("Wyoming on %s: the protocol knows no keys, and whoever reaches this address may use it", host)
    elif not host.startswith(_LOOPBACK) and not settings.api_keys:
        log.warning(
            "listening on %s without a key: whoever reaches this address may use the server (--api-key-file)", host
        )
    return found


def serve(engine: Engine, settings: Settings, listening: socket.socket, wyoming: socket.socket | None = None) -> int:
    """Serve until a signal comes; return the exit status.

    The first SIGTERM or SIGINT lets the requests under way be done and takes no other; the second ends at once.

    Parameters
    ----------
    engine : Engine
        One that has not been started.
    settings : Settings
    listening : socket
        As :func:`claim` gives it.
    wyoming : socket, optional
        For the Wyoming protocol.

    Raises
    ------
    TdtError
        In its kinds: the engine cannot start.
    """
    return asyncio.run(_serve(engine, settings, listening, wyoming))


async def _serve(engine: Engine, settings: Settings, listening: socket.socket, wyoming: socket.socket | None) -> int:
    await engine.start()  # not by the application: what is wrong is raised here, in its own kind
    app = create_app(engine, settings)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        backlog=_BACKLOG,
        lifespan="off",
        server_header=False,
        ws="websockets-sansio",
        ws_max_size=LONGEST_BLOCK,
        ws_ping_timeout=_PONG_SECONDS,
    )
    server = _Server(config, engine.live)
    try:
        host, port = listening.getsockname()[:2]
        log.info(
            "%s on %s: http://%s:%d", settings.model, settings.provider, f"[{host}]" if ":" in host else host, port
        )
        async with AsyncExitStack() as beside:
            if wyoming is not None:
                await beside.enter_async_context(Wyoming(engine, wyoming))
                log.info("Wyoming: tcp://%s:%d", *wyoming.getsockname()[:2])
            await server.serve([listening])
        await engine.close(drain=not server.force_exit)
    finally:
        listening.close()
    return STOPPED if server.force_exit else 0


class _Server(uvicorn.Server):
    """Uvicorn's, whose signals end it without being raised again, and which lets those who speak have the last words.

    Parameters
    ----------
    config : uvicorn.Config
    live : LiveSessions
    """

    def __init__(self, config: uvicorn.Config, live: LiveSessions) -> None:
        super().__init__(config)
        self._live = live

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End live streams as their `finish` would, then all the rest."""
        if not self.force_exit:
            await self._live.drain()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals by the loop while it serves."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._end)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    def _end(self) -> None:
        if self.should_exit:
            log.warning("told twice to end: requests under way are left")
            self.force_exit = True
            at_work.hurry(STOPPED)
            # From Python 3.12 on a server that closes waits for its connections, whatever is under way on them.
            for connection in list(self.server_state.connections):
                connection.transport.abort()
        else:
            log.info("ending: requests under way will be done")
            self.should_exit = True
