"""Speech as it is spoken: windows that go forward, words that settle, utterances that close; many streams in lockstep.

Knows samples, tokens and where utterances end. Knows no microphone, clock or thread; the stages are handed to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.doors import door

if TYPE_CHECKING:
    from tdt.live.contexts import PRESETS as PRESETS
    from tdt.live.contexts import Contexts as Contexts
    from tdt.live.contexts import contexts_of as contexts_of
    from tdt.live.endpoint import usual_rules as usual_rules
    from tdt.live.gate import SpeechGate as SpeechGate
    from tdt.live.lockstep import LiveBatch as LiveBatch
    from tdt.live.room import LiveRoom as LiveRoom
    from tdt.live.steps import Stepper as Stepper
    from tdt.live.stream import LiveStream as LiveStream
    from tdt.live.stream import Setup as Setup
    from tdt.live.updates import LiveWord as LiveWord
    from tdt.live.updates import Update as Update

__getattr__, __all__ = door(
    __name__,
    {
        "contexts": "PRESETS Contexts contexts_of",
        "endpoint": "usual_rules",
        "gate": "SpeechGate",
        "lockstep": "LiveBatch",
        "room": "LiveRoom",
        "steps": "Stepper",
        "stream": "LiveStream Setup",
        "updates": "LiveWord Update",
    },
)
