"""`WS /v1/listen`: the loop that holds a conversation on a socket, and who may begin one."""

from __future__ import annotations

import asyncio
import logging
from base64 import urlsafe_b64decode
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.websockets import WebSocketDisconnect

from tdt.errors import AudioValueError, RequestTimeoutError, TdtError, UnauthorizedError
from tdt.serving.conversation import Conversation, Sound, Start, finished, ready, told
from tdt.serving.refusing import refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.websockets import WebSocket

    from tdt.serving.admission import Admission
    from tdt.serving.live_room import LiveSessions
    from tdt.serving.live_session import LiveSession, Said
    from tdt.serving.settings import Settings

log = logging.getLogger("tdt.serving")
PROTOCOL = "tdt.v1"
_KEY = "key."
START_SECONDS = 30.0
CLOSED = 1000  # of a socket: as it should be
ENDING = 1012  # as it should be, since the server ends
REFUSED = 4000  # and where something is refused: this, with the status of the answer that HTTP would give


class Listening:
    """Holds one conversation a socket.

    Parameters
    ----------
    sessions : LiveSessions
    admission : Admission
    settings : Settings
    """

    def __init__(self, sessions: LiveSessions, admission: Admission, settings: Settings) -> None:
        self._sessions, self._admission, self._settings = sessions, admission, settings

    async def hold(self, socket: WebSocket) -> None:
        """Talk until all is said, something is refused, or nobody is there."""
        offered = socket.scope.get("subprotocols", [])
        await socket.accept(PROTOCOL if PROTOCOL in offered else None)
        code = CLOSED
        try:
            await self._talk(socket, offered)
        except WebSocketDisconnect:
            return
        except Exception as error:  # noqa: BLE001  whatever it is, the client is told
            refusal, body = refused(error)
            code = REFUSED + refusal.status
            # Its kind alone: a message or trace of whatever failed could hold what was said.
            log.info("a live stream was refused: %s (%s)", refusal.code, type(error).__name__)
            with suppress(WebSocketDisconnect, RuntimeError):  # gone meanwhile
                await socket.send_json({"type": "error", **body, "fatal": True})
        with suppress(WebSocketDisconnect, RuntimeError):
            await socket.close(ENDING if code == CLOSED and self._sessions.closed else code)

    async def _talk(self, socket: WebSocket, offered: list[str]) -> None:
        check_caller(self._admission, socket.headers, offered, guarded=bool(self._settings.api_keys))
        conversation = Conversation(socket.query_params.get("latency"))
        try:
            async with asyncio.timeout(START_SECONDS):
                first = conversation.take(await _message(socket))
        except TimeoutError:
            raise RequestTimeoutError(START_SECONDS) from None
        assert isinstance(first, Start)
        async with await self._sessions.join(first.ask, "websocket") as session:
            await socket.send_json(ready(self._settings, first.ask, session))
            hearing = asyncio.create_task(_hear(socket, conversation, session))
            try:
                while said := await session.said():
                    for item in said:
                        await _send(socket, item, session)
                if hearing.done() and (error := hearing.result()) is not None:
                    raise error
                await socket.send_json(finished(session.transcript))
            finally:
                hearing.cancel()
                await asyncio.wait([hearing])


async def _hear(socket: WebSocket, conversation: Conversation, session: LiveSession) -> Exception | None:
    """Hand on what is said until nobody is there; return why it ended."""
    try:
        while True:
            try:
                heard = conversation.take(await _message(socket))
            except AudioValueError as error:
                session.tell(error)
                continue
            if isinstance(heard, Sound):
                await session.hear(heard.samples)
            else:
                session.end()
    except (TdtError, WebSocketDisconnect, RuntimeError) as error:
        session.leave()
        return WebSocketDisconnect() if isinstance(error, RuntimeError) else error


async def _send(socket: WebSocket, item: Said, session: LiveSession) -> None:
    if item is session.failure:
        raise session.failure
    await socket.send_json(told(item))


async def _message(socket: WebSocket) -> str | bytes:
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    text, data = message.get("text"), message.get("bytes")
    return text if text is not None else data or b""


def check_caller(admission: Admission, headers: Mapping[str, str], offered: list[str], *, guarded: bool) -> None:
    """Refuse who has no key, and pages of other hosts where nobody needs one.

    A browser cannot send a key as a header with a socket: it offers a subprotocol "key." + base64url(key) beside
    "tdt.v1". It lets any page open a socket to any address, so a page's own host is looked at.

    Raises
    ------
    UnauthorizedError
    """
    if admission.allowed(headers):
        origin = headers.get("origin")
        if origin is None or guarded or urlsplit(origin).netloc == headers.get("host"):
            return
    for protocol in offered:
        if protocol.startswith(_KEY):
            with suppress(ValueError):
                encoded = protocol.removeprefix(_KEY)
                key = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
                if guarded and admission.knows(key):
                    return
    raise UnauthorizedError
