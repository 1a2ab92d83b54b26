"""The application: routes and nothing else; what they do lies beside."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router

from tdt.errors import NotOfferedError, ServerClosedError
from tdt.serving import faces
from tdt.serving.describing import description
from tdt.serving.front import Front
from tdt.serving.metrics import CONTENT_TYPE
from tdt.serving.transcriptions import Transcriptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp

    from tdt.serving.engine import Engine
    from tdt.serving.settings import Settings


def create_app(engine: Engine, settings: Settings) -> ASGIApp:
    """Return the application over an engine, which lives as long as the application is served.

    Parameters
    ----------
    engine : Engine
        One that has not been started.
    settings : Settings
        The engine's own.
    """

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        async with engine:
            yield

    return Front(Router(routes(engine, settings), lifespan=lifespan), engine, settings)


def routes(engine: Engine, settings: Settings) -> list[BaseRoute]:
    """Return all routes."""
    own = _Own(engine, settings)
    return [
        Route("/v1/audio/transcriptions", Transcriptions(engine, settings), methods=["POST"]),
        Route("/v1/audio/translations", own.translations, methods=["POST"]),
        Route("/v1/models", own.models, methods=["GET"]),
        Route("/health", own.health, methods=["GET"]),
        Route("/metrics", own.metrics, methods=["GET"]),
        Route("/openapi.json", own.openapi, methods=["GET"]),
        *faces.routes(engine),
    ]


class _Own:
    """The short answers."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine, self._settings = engine, settings
        self._created = round(time.time())

    async def translations(self, request: Request) -> Response:  # noqa: ARG002
        """Refuse."""
        raise NotOfferedError("Translation", "the model writes what is said in the language in which it is said")

    async def models(self, request: Request) -> Response:  # noqa: ARG002
        """List the one model."""
        model = {"id": self._settings.model, "object": "model", "created": self._created, "owned_by": "parakeet-tdt"}
        return JSONResponse({"object": "list", "data": [model]})

    async def health(self, request: Request) -> Response:  # noqa: ARG002
        """Say whether requests are taken, and by what."""
        if not self._engine.healthy:
            raise ServerClosedError
        found: dict[str, Any] = {"status": "ok", "model": self._settings.model, "provider": self._settings.provider}
        return JSONResponse(found)

    async def metrics(self, request: Request) -> Response:  # noqa: ARG002
        """Give the counters."""
        return Response(self._engine.metrics.render(), headers={"content-type": CONTENT_TYPE})

    async def openapi(self, request: Request) -> Response:  # noqa: ARG002
        """Describe all this."""
        return JSONResponse(description(self._settings))
