"""An engine that says what a test tells it to, and the application over it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from starlette.testclient import TestClient

from tdt.serving import Settings, create_app
from tdt.serving.admission import Admission
from tdt.serving.live_room import LiveSessions
from tdt.serving.metrics import Metrics
from tdt.text import Segment, Token, Transcript, Word

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


def said(text: str, start: float = 0.0) -> Transcript:
    """Return a transcript of some words, half a second each."""
    found = text.split()
    spans = [(start + 0.5 * number, start + 0.5 * number + 0.4) for number in range(len(found))]
    tokens = tuple(
        Token(n, "▁" + word, 0, 5, *span, 0.9) for n, (word, span) in enumerate(zip(found, spans, strict=True))
    )
    words = tuple(Word(word, *span, 0.9) for word, span in zip(found, spans, strict=True))
    segments = (Segment(text, spans[0][0], spans[-1][1]),) if found else ()
    end = spans[-1][1] if found else start
    return Transcript(
        text, tokens, words, segments, end, logprobs=(-0.25,) * len(found), segment_sizes=(len(found),) * bool(found)
    )


class ScriptedEngine:
    """Gives parts, or raises; waits where it is told to.

    Parameters
    ----------
    *script : Transcript, None, Exception or float
        Parts to give, an error to raise, seconds to wait.
    settings : Settings, optional
    """

    def __init__(self, *script: Any, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.metrics = Metrics()
        self.admission = Admission(self.settings, self.metrics)
        self.live = LiveSessions(self)  # type: ignore[arg-type]
        self.script = script
        self.healthy = True
        self.asked: list[dict[str, Any]] = []
        self.heard: list[bytes] = []
        self.ended: list[str] = []

    async def __aenter__(self) -> Self:
        self.admission.closed = False
        return self

    async def __aexit__(self, *_: object) -> None:
        self.admission.closed = True

    async def parts(self, data: Any, **ask: Any) -> AsyncGenerator[tuple[Transcript | None, float]]:
        self.asked.append(ask)
        self.heard.append(data.read())
        how = "left"
        try:
            with self.admission.permit():
                for item in self.script:
                    if isinstance(item, BaseException):
                        raise item  # noqa: TRY301  as the engine does
                    if isinstance(item, float):
                        await asyncio.sleep(item)
                    else:
                        yield item, 1.0 if item is None else item.audio_seconds
            how = "done"
        except Exception:
            how = "failed"
            raise
        finally:
            self.ended.append(how)


def client_of(*script: Any, **settings: Any) -> tuple[TestClient, ScriptedEngine]:
    """Return a client of an application over a scripted engine, to be entered."""
    engine = ScriptedEngine(*script, settings=Settings(**settings))
    return TestClient(create_app(engine, engine.settings), raise_server_exceptions=True), engine


SOUND = {"file": ("talk.flac", b"sound")}
PATH = "/v1/audio/transcriptions"
