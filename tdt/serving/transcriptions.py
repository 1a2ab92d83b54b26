"""POST /v1/audio/transcriptions: a form in, a transcript out, whole or as it becomes final."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect

from tdt.errors import TdtError
from tdt.serving.answering import EVENTS, answer, delta, done, event
from tdt.serving.asking import ask_of
from tdt.serving.bodies import close_files
from tdt.serving.engine import collected
from tdt.serving.refusing import refused

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from starlette.types import Receive, Scope, Send

    from tdt.serving.asking import Ask
    from tdt.serving.bodies import Body
    from tdt.serving.engine import AskOptions, Engine
    from tdt.serving.settings import Settings
    from tdt.text import Transcript

log = logging.getLogger("tdt.serving")
UPLOAD = "The upload"


class Transcriptions:
    """The endpoint, an ASGI application.

    Parameters
    ----------
    engine : Engine
    settings : Settings
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine, self._settings = engine, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  the body has it
        """Answer one request."""
        self._engine.admission.check()  # before anything is read
        body: Body = scope["tdt.body"]
        form = await body.form()
        try:
            ask = ask_of(form, self._settings.model)
            if ask.alias:
                log.info("%s asks for %s and gets %s", scope["tdt.id"], ask.alias, self._settings.model)
            work = self._stream(ask, send) if ask.stream else self._whole(ask, send)
            await while_there(body, work)
        finally:
            close_files(form)

    async def _whole(self, ask: Ask, send: Send) -> None:
        found, seconds = await collected(self._engine.parts(ask.file, **_options(ask)))
        made = answer(ask, found, seconds)
        raw = made.text.encode()
        await _begin(send, ask, made.media_type, len(raw))
        await send({"type": "http.response.body", "body": raw})

    async def _stream(self, ask: Ask, send: Send) -> None:
        """Send each part as it becomes final; an error after the first of them is an event, too."""
        found: list[Transcript] = []
        seconds = 0.0

        async def tell(text: str) -> None:
            await send({"type": "http.response.body", "body": text.encode(), "more_body": True})

        try:
            async with aclosing(self._engine.parts(ask.file, **_options(ask))) as parts:
                async for part, seconds in parts:  # noqa: B007  the last says how long it is
                    if part is None:
                        continue
                    if not found:
                        await _begin(send, ask, EVENTS)
                    said = any(one.text for one in found)
                    found.append(part)
                    if part.text:  # else it tells of skipped speech alone
                        await tell(delta(part, first=not said, logprobs=ask.logprobs))
        except TdtError as error:
            if not found:
                raise
            await tell(event({"type": "error"} | refused(error)[1]))
        else:
            if not found:
                await _begin(send, ask, EVENTS)
            await tell(done(found, seconds, logprobs=ask.logprobs))
        await send({"type": "http.response.body", "body": b""})


async def while_there(body: Body, work: Coroutine[Any, Any, None]) -> None:
    """Do work while the client is there; when it leaves, the work is cancelled.

    Raises
    ------
    ClientDisconnect
        It has left.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(body.gone())
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)
    task.result()


def _options(ask: Ask) -> AskOptions:
    return {"phrases": list(ask.hotwords) or None, "name": UPLOAD}


async def _begin(send: Send, ask: Ask, media_type: str, length: int | None = None) -> None:
    headers = {"content-type": media_type}
    if length is not None:
        headers["content-length"] = str(length)
    else:
        headers["cache-control"] = "no-store"
    if ask.without_effect:
        headers["x-without-effect"] = ", ".join(ask.without_effect)
    coded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": 200, "headers": coded})
