"""A server: many callers share one model. The engine room knows no protocol; the faces to HTTP are thin.

Knows requests, batches of them, who waits and who has gone. Knows nothing of how stages compute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.doors import door

if TYPE_CHECKING:
    from tdt.serving.engine import Engine as Engine
    from tdt.serving.settings import Settings as Settings

__getattr__, __all__ = door(
    __name__,
    {"engine": "Engine", "settings": "Settings"},
)
