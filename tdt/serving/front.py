"""What surrounds every request: its id, its key, the log, and the one place where errors become answers."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from tdt.errors import TdtError, UnauthorizedError
from tdt.serving.answering import JSON, as_json
from tdt.serving.bodies import Body
from tdt.serving.refusing import STATUSES, body_of, headers_of, refused

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from tdt.serving.engine import Engine
    from tdt.serving.settings import Settings

log = logging.getLogger("tdt.serving")
# Everybody may know that there is a server, how to talk to it, and whether it is well.
_OPEN = frozenset({"/health", "/openapi.json"})
_GUARDED = ("/v1/", "/metrics")
# Nginx's status for a client that closed the connection; it stands in the log and the counters only.
LEFT = 499


class Front:
    """The outermost part of the application; WebSockets pass, and ask :attr:`Engine.admission` for themselves.

    Parameters
    ----------
    app : callable
        Of ASGI.
    engine : Engine
    settings : Settings
    """

    def __init__(self, app: ASGIApp, engine: Engine, settings: Settings) -> None:
        self._app, self._engine, self._settings = app, engine, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["app"] = self  # so that the router raises for a path that is none
        await _Exchange(self._engine, self._settings, scope, receive, send).run(self._app)


class _Exchange:
    """One request and its answer."""

    def __init__(self, engine: Engine, settings: Settings, scope: Scope, receive: Receive, send: Send) -> None:
        self._engine, self._scope, self._send = engine, scope, send
        self._receive = receive
        self.id = uuid.uuid4().hex
        self.headers = Headers(scope=scope)
        self.body = Body(receive, self.headers, round(settings.max_mb * 1e6), settings.upload_seconds)
        self.status = 0
        self._begun = time.monotonic()

    async def run(self, app: ASGIApp) -> None:
        """Have the application answer it; errors become answers, and what has become of it is counted and logged."""
        self._scope["tdt.body"], self._scope["tdt.id"] = self.body, self.id
        code = ""
        try:
            if self._scope["path"].startswith(_GUARDED) and not self._engine.admission.allowed(self.headers):
                raise UnauthorizedError  # noqa: TRY301  an answer like all others
            await app(self._scope, self._receive, self._tell)
        except (ClientDisconnect, asyncio.CancelledError) as error:
            code = "client_left"
            self.status = LEFT
            if isinstance(error, asyncio.CancelledError):
                raise
        except HTTPException as error:
            code = await self._refuse_status(error)
        except Exception as error:  # noqa: BLE001  whatever it is, the client gets an answer
            code = await self._refuse(error)
        finally:
            self._note(code)

    async def _tell(self, message: Message) -> None:
        """Send what the application sends, with the id."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", []), (b"x-request-id", self.id.encode())]
        await self._send(message)

    async def _refuse(self, error: Exception) -> str:
        refusal, body = refused(error)
        if not isinstance(error, TdtError):
            # The kind alone: a message or trace of whatever failed could hold what was said.
            log.error("%s failed: %s", self.id, type(error).__name__)
            log.debug("%s", self.id, exc_info=error)
        if not self.status:
            await self._answer(refusal.status, body, dict(headers_of(error)))
        return refusal.code

    async def _refuse_status(self, error: HTTPException) -> str:
        refusal = STATUSES.get(error.status_code, STATUSES[500])
        await self._answer(error.status_code, body_of(refusal, f"{error.detail}."), dict(error.headers or {}))
        return refusal.code

    async def _answer(self, status: int, body: dict[str, Any], headers: dict[str, str]) -> None:
        raw = as_json(body).encode()
        headers |= {"content-type": JSON, "content-length": str(len(raw))}
        posted = self._scope["method"] in {"POST", "PUT", "PATCH"}
        if posted and not self.body.complete:
            headers["connection"] = "close"  # else the server would read on, and forget it, for as long as it comes
        coded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await self._tell({"type": "http.response.start", "status": status, "headers": coded})
        await self._tell({"type": "http.response.body", "body": raw, "more_body": True})
        if posted:
            await self.body.linger()
        await self._tell({"type": "http.response.body", "body": b""})

    def _note(self, code: str) -> None:
        metrics = self._engine.metrics
        metrics.add("tdt_requests_total", label=str(self.status))
        if code:
            metrics.add("tdt_refusals_total", label=code)
        took = time.monotonic() - self._begun
        path = self._scope["path"] if self._scope["path"].isascii() else "?"
        quiet = path in _OPEN or path == "/metrics"
        log.log(
            logging.DEBUG if quiet else logging.INFO,
            "%s %s %.60s %d %.0f ms%s",
            self.id,
            self._scope["method"],
            path.replace("\n", "?").replace("\r", "?"),
            self.status,
            took * 1000,
            f" {code}" if code else "",
        )
