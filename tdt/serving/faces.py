"""The faces beside OpenAI's interface: live speech on a socket, and the page at `/` with its files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute

from tdt.serving.listening import Listening

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from tdt.serving.engine import Engine

PAGE = Path(__file__).parent / "page"
FILES = {
    "": ("index.html", "text/html; charset=utf-8"),
    "style.css": ("style.css", "text/css; charset=utf-8"),
    "captions.js": ("captions.js", "text/javascript; charset=utf-8"),
    "live.js": ("live.js", "text/javascript; charset=utf-8"),
    "view.js": ("view.js", "text/javascript; charset=utf-8"),
    "wire.js": ("wire.js", "text/javascript; charset=utf-8"),
    "sound.js": ("sound.js", "text/javascript; charset=utf-8"),
    "worklet.js": ("worklet.js", "text/javascript; charset=utf-8"),
}
# Nothing of another host, nothing inline; sound that was recorded here is played from memory (blob:).
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; media-src 'self' blob:; worker-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "permissions-policy": "microphone=(self)",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}


def routes(engine: Engine) -> list[BaseRoute]:
    """Return the routes of the socket and the page."""
    listening = Listening(engine.live, engine.admission, engine.settings)
    page = [Route(f"/{name}", _File(*file).answer, methods=["GET"]) for name, file in FILES.items()]
    return [WebSocketRoute("/v1/listen", listening.hold), *page]


class _File(NamedTuple):
    """A file of the page, read when it is asked for: there are few and they are small."""

    name: str
    media_type: str

    async def answer(self, request: Request) -> Response:  # noqa: ARG002
        """Answer with it."""
        return Response((PAGE / self.name).read_bytes(), media_type=self.media_type, headers=HEADERS)
