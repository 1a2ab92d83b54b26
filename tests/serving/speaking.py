"""An engine room whose live streams are scripted: what a block of samples says is written in it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from tdt.errors import OptionError, ServerClosedError
from tdt.live import LiveStream
from tdt.serving import Settings
from tdt.serving.admission import Admission
from tdt.serving.live_room import LiveSessions
from tdt.serving.metrics import Metrics

from ..live.feeding import scripted, stages_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..live.feeding import ScriptedStages


class SpeakingEngine:
    """What live sessions need of an engine; its device runs jobs in threads, one at a time.

    Attributes
    ----------
    steps : int
        Jobs that were run.
    gate : asyncio.Event
        A job waits until it is set, as behind another run.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = Settings(**settings)
        self.metrics = Metrics()
        self.admission = Admission(self.settings, self.metrics)
        self.admission.closed = False
        self.setup = scripted(4, 3, 2)
        self.recognizer = SimpleNamespace(live=self._live)
        self.device = self
        self.live = LiveSessions(self)  # type: ignore[arg-type]
        self.steps = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.closed = False

    @property
    def stages(self) -> ScriptedStages:
        return stages_of(self.setup)

    def _live(self, *, latency: int, phrases: Any = None) -> LiveStream:
        if phrases is not None and "☃" in phrases:
            raise OptionError("phrases", "☃", "characters of the vocabulary")
        return LiveStream(self.setup if phrases is None else replace(scripted(4, 3, 2), rate_hz=16000))

    async def run(self, job: Callable[[], Any], *, live: bool = False) -> Any:
        assert live, "speech goes before files"
        if self.closed:
            raise ServerClosedError
        self.steps += 1
        await self.gate.wait()
        return await asyncio.to_thread(job)
